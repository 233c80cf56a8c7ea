// Finding words in texts, and marking them where they are drawn.

// More marks than this in one body help nobody.
const MOST_MARKS = 500;

/** A pattern that finds the words as they are written, in any case; null for none. */
function patternOf(words) {
  const trimmed = words.trim();
  return trimmed ? new RegExp(trimmed.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "gi") : null;
}

function isFound(pattern, text) {
  return text.search(pattern) >= 0; // keeps no place in the pattern, as its own `test` does
}

/** Marks what the pattern finds below a node, also where it runs across several elements. */
function markMatches(root, pattern) {
  clearMarks(root);
  if (pattern === null) return;
  let marked = 0;
  for (const line of root.querySelectorAll(".line, bdi")) {
    if (!isFound(pattern, line.textContent)) continue;
    marked += markLine(line, pattern);
    if (marked > MOST_MARKS) return;
  }
}

function markLine(line, pattern) {
  const ranges = [...line.textContent.matchAll(pattern)]
    .slice(0, MOST_MARKS)
    .map((match) => [match.index, match.index + match[0].length]);
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let start = 0;
  for (const node of nodes) {
    const end = start + node.data.length;
    const inside = ranges.filter(([from, to]) => from < end && to > start);
    if (inside.length) markNode(node, inside, start);
    start = end;
  }
  return ranges.length;
}

function markNode(node, ranges, offset) {
  const text = node.data;
  const pieces = [];
  let at = 0;
  for (const [from, to] of ranges) {
    const begin = Math.max(from - offset, 0);
    const end = Math.min(to - offset, text.length);
    pieces.push(text.slice(at, begin), element("mark", {}, text.slice(begin, end)));
    at = end;
  }
  node.replaceWith(...pieces, text.slice(at));
}

function clearMarks(root) {
  const parents = new Set();
  for (const mark of root.querySelectorAll("mark")) {
    parents.add(mark.parentNode);
    mark.replaceWith(mark.textContent);
  }
  for (const parent of parents) parent.normalize();
}
