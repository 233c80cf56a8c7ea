// Long texts from outside, line by line: plain, of a terminal, JSON, or a diff.
// A line is a list of runs; a run is a piece of text that looks the same from end to end.

// Python has cut the texts before; this is what a browser can bear where it has not.
const MOST_CHARACTERS = 100_000;
const MOST_LINES = 5000;
// How many characters are about one line on the screen, to judge a text without line breaks.
const WIDTH = 120;
const FOLDED = { head: 14, tail: 6 };

/** Leaves out the middle of a text that is far too long. */
function clip(text) {
  const left = text.length - MOST_CHARACTERS;
  if (left <= 0) return text;
  const note = `\n… ${count(left, "character")} are not drawn here …\n`;
  return text.slice(0, MOST_CHARACTERS * 0.8) + note + text.slice(-MOST_CHARACTERS * 0.2);
}

function clipLines(lines) {
  const left = lines.length - MOST_LINES;
  if (left <= 0) return lines;
  const note = [{ text: `… ${count(left, "line")} are not drawn here …`, className: "note" }];
  return [...lines.slice(0, MOST_LINES * 0.8), note, ...lines.slice(-MOST_LINES * 0.2)];
}

const READERS = {
  text: (text) => text.split(/\r?\n/).map((line) => [{ text: line }]),
  terminal: terminalLines,
  json: jsonLines,
  diff: diffLines,
  failure: failureLines,
};

function linesOf(text, format) {
  const read = READERS[format] ?? READERS.text;
  const lines = read(clip(text));
  while (lines.length > 1 && lengthOf(lines.at(-1)) === 0) lines.pop();
  return clipLines(lines);
}

const JSON_TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** JSON on many lines. Its tokens stay as they are: numbers keep all of their digits. */
function jsonLines(text) {
  try {
    JSON.parse(text);
  } catch {
    return READERS.text(text);
  }
  const tokens = text.match(JSON_TOKENS);
  const lines = [[]];
  let depth = 0;
  const breakLine = () => lines.push([{ text: "  ".repeat(Math.min(depth, 20)) }]);
  tokens.forEach((token, at) => {
    const next = tokens[at + 1];
    const closes = token === "}" || token === "]";
    const isEmpty = closes && (tokens[at - 1] === "{" || tokens[at - 1] === "[");
    if (closes) depth -= 1;
    if (closes && !isEmpty) breakLine();
    lines.at(-1).push({ text: token === ":" ? ": " : token, className: jsonClass(token, next) });
    if (token === "{" || token === "[") {
      depth += 1;
      if (next !== "}" && next !== "]") breakLine();
    } else if (token === ",") breakLine();
  });
  return lines;
}

function jsonClass(token, next) {
  if (token.startsWith('"')) return next === ":" ? "json-key" : "json-string";
  return /^[-\dtfn]/.test(token) ? "json-value" : "json-mark";
}

function diffLines(text) {
  let isInHunk = true; // what differs in a request has no head of files
  return text.split(/\r?\n/).map((line) => {
    if (line.startsWith("diff ")) isInHunk = false;
    else if (line.startsWith("@@")) isInHunk = true;
    const runs = [{ text: line }];
    runs.lineClass = diffClass(line, isInHunk);
    return runs;
  });
}

function diffClass(line, isInHunk) {
  if (line.startsWith("@@")) return "diff-hunk";
  if (!isInHunk) return "diff-meta"; // `---` and `+++` are names here, and lines below
  if (line.startsWith("+")) return "diff-added";
  return line.startsWith("-") ? "diff-removed" : "diff-same";
}

/** What pytest writes without colours, with the two that matter. */
function failureLines(text) {
  return text.split(/\r?\n/).map((line) => {
    const className = { E: "failure-error", ">": "failure-here" }[/^[E>](?=\s)/.exec(line)?.[0]];
    return [{ text: line, className }];
  });
}

const lengthOf = (runs) => runs.reduce((sum, run) => sum + run.text.length, 0);
const weightOf = (runs) => Math.max(Math.ceil(lengthOf(runs) / WIDTH), 1);

function drawRun(run) {
  const nodes = visibleNodes(run.text);
  if (!run.className) return nodes;
  const span = element("span", { class: run.className }, nodes);
  for (const [name, value] of Object.entries(run.colours ?? {})) span.style.setProperty(name, value);
  return [span];
}

function drawLine(runs) {
  const drawn = element("span", { class: `line ${runs.lineClass ?? ""}` });
  for (const run of runs) drawn.append(...drawRun(run));
  return drawn;
}

function drawLines(lines) {
  const all = document.createDocumentFragment();
  for (const line of lines) all.append(drawLine(line));
  return all;
}

/** The first lines that weigh no more than this; the last of them may be cut short. */
function firstLines(lines, weight) {
  const taken = [];
  let left = weight;
  for (const runs of lines) {
    if (left <= 0) break;
    const needed = weightOf(runs);
    taken.push(needed <= left ? runs : cutRuns(runs, left * WIDTH));
    left -= needed;
  }
  return taken;
}

/** The last whole lines that weigh no more than this. */
function lastLines(lines, weight) {
  let at = lines.length;
  let left = weight;
  while (at > 0 && weightOf(lines[at - 1]) <= left) {
    at -= 1;
    left -= weightOf(lines[at]);
  }
  return lines.slice(at);
}

function cutRuns(runs, length) {
  const cut = [];
  cut.lineClass = runs.lineClass;
  let left = length;
  for (const run of runs) {
    if (left <= 0) break;
    cut.push({ ...run, text: run.text.slice(0, left) });
    left -= run.text.length;
  }
  cut.push({ text: "…", className: "note" });
  return cut;
}

/**
 * A text in a box. A long one shows its first and last lines, and a button for the rest.
 * `isWanted` tells whether what would be folded away is looked for; then it is not folded.
 */
function textBox(text, format, { folded = FOLDED, isWanted = () => false } = {}) {
  if (text === "") return element("p", { class: "note" }, "(empty)");
  const lines = linesOf(text, format);
  const box = element("div", { class: `text-box ${format}`, tabindex: "-1" });
  const total = lines.reduce((sum, runs) => sum + weightOf(runs), 0);
  const head = firstLines(lines, folded.head);
  const tail = lastLines(lines.slice(head.length), folded.tail);
  const hidden = lines.slice(head.length, lines.length - tail.length);
  const isLong = total > folded.head + folded.tail + 4;
  if (!isLong) return fill(box, block(lines));
  const drawFolded = () => fill(box, block(head), foldButton(showAll(lines), drawAll), block(tail));
  const drawAll = () => fill(box, block(lines), foldButton("Show less", drawFolded));
  const isMissed = () => isWanted(hidden) || (total > lines.length && isWanted(lines));
  if (isMissed()) drawAll();
  else drawFolded();
  return box;
}

function fill(box, ...children) {
  box.replaceChildren(...children.filter((child) => child !== null));
  return box;
}

function block(lines) {
  return lines.length ? element("pre", {}, drawLines(lines)) : null;
}

function showAll(lines) {
  const characters = lines.reduce((sum, runs) => sum + lengthOf(runs), 0);
  return lines.length > 3
    ? `Show all ${count(lines.length, "line")}`
    : `Show all ${count(characters, "character")}`;
}

function foldButton(label, action) {
  const click = (event) => {
    const box = event.target.closest(".text-box");
    action();
    box.querySelector(".fold")?.focus({ preventScroll: true });
  };
  return element("button", { type: "button", class: "fold", click }, label);
}
