// What all pages use: making elements, showing texts from outside, writing numbers.
// All files of a page are put into one function, so that they see each other's names.

/**
 * Makes an element. Attributes that are functions are listeners; those that are null or false are
 * left out. Children are nodes or plain text, in lists or not.
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) made.append(child);
  }
  return made;
}

function readStory() {
  return JSON.parse(document.getElementById("story").textContent);
}

// Characters that cannot be seen, some of which reorder what is around them or hide a message:
// controls, formats, lone halves of surrogate pairs, fillers and tags. Joiners stay where they join
// letters of other scripts or emoji.
const INVISIBLE = new RegExp(
  "(?![\\t\\n\\u0600-\\u0605\\u06dd\\u200c\\u200d])[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]" +
    "|[\\u115f\\u1160\\u3164\\uffa0\\u{e0000}-\\u{e0fff}]" +
    "|(?<![^\\0-\\x7f])[\\u200c\\u200d]|[\\u200c\\u200d](?![^\\0-\\x7f])",
  "gu",
);

function nameOfInvisible(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** The nodes of a text; characters that cannot be seen become marks that can. */
function visibleNodes(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    nodes.push(element("span", { class: "invisible" }, nameOfInvisible(match[0])));
    end = match.index + match[0].length;
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

const LONGEST_LINE = 2000;

/** A short text from outside, which cannot change the direction of what is around it. */
function outside(text, attributes = {}) {
  const shown = text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text;
  return element("bdi", attributes, visibleNodes(shown));
}

/** A test's id, which may break where its parts meet. */
function testName(id, attributes = {}) {
  const name = outside(id, attributes);
  const pieces = [...name.childNodes].flatMap((node) =>
    node.nodeType === Node.TEXT_NODE
      ? node.data.split(/(?<=::|[/[_])/).flatMap((piece) => [piece, element("wbr")])
      : [node],
  );
  name.replaceChildren(...pieces);
  return name;
}

/**
 * The address of a file beside this page, or null for a name that is something else. Each part is
 * encoded, so that nothing in a name can be read as more than a name.
 */
function addressOf(path) {
  if (!path || /^[/\\]/.test(path) || /^[^/]*:/.test(path)) return null;
  try {
    return path.split("/").map(encodeURIComponent).join("/");
  } catch {
    return null; // half a surrogate pair has no encoding
  }
}

/** A link to a file beside this page, or plain text where it cannot be one. */
function fileLink(path, content, attributes = {}) {
  const address = addressOf(path);
  return address === null
    ? element("span", attributes, content)
    : element("a", { href: address, ...attributes }, content);
}

const wholeNumbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function formatNumber(value) {
  return wholeNumbers.format(value);
}

/** `1 step`, `2 steps`. */
function count(number, noun) {
  return `${formatNumber(number)} ${noun}${number === 1 ? "" : "s"}`;
}

function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.0005) return "0 s";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

/** A time on the test's clock: minutes, seconds, hundredths. */
function formatClock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const hundredths = Math.round(Math.abs(seconds) * 100);
  const minutes = Math.floor(hundredths / 6000);
  const rest = ((hundredths % 6000) / 100).toFixed(2).padStart(5, "0");
  return `${seconds < 0 && hundredths ? "\u2212" : ""}${minutes}:${rest}`;
}

function formatSize(bytes) {
  if (bytes < 1000) return count(bytes, "byte");
  const units = ["kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
  return `${(bytes / 1000 ** power).toFixed(1)} ${units[power - 1]}`;
}

function formatCost(dollars) {
  if (dollars === null || dollars === undefined) return "";
  return `$${dollars.toFixed(dollars && dollars < 0.1 ? 4 : 2)}`;
}

/** A moment in the reader's own time zone; nothing where there is none. */
function moment(secondsSince1970) {
  const date = new Date(secondsSince1970 * 1000);
  if (!secondsSince1970 || Number.isNaN(date.getTime())) return null;
  const words = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  return element("time", { datetime: date.toISOString() }, words);
}

const VERDICTS = {
  failed: "Failed",
  passed: "Passed",
  skipped: "Skipped",
  running: "Unfinished",
  retried: "Tried again",
  tolerated: "Failed, tolerated",
  open: "No verdict",
};

const FAULTS = {
  assertion: "an assertion did not hold",
  test: "the test\u2019s own code",
  script: "the script or recording",
  agent: "the agent",
  budget: "the budget",
  sandbox: "the sandbox",
};

function verdictBadge(verdict) {
  return element("span", { class: `badge ${verdict}` }, VERDICTS[verdict] ?? verdict);
}

/** Copies a text, and says on the button what came of it. */
async function copyText(text, button) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = (await wasCopied(text)) ? "Copied" : "Press Ctrl+C";
  setTimeout(() => {
    button.textContent = label;
  }, 2000);
}

async function wasCopied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return wasCopiedByCommand(text); // pages from files have no clipboard in some browsers
  }
}

function wasCopiedByCommand(text) {
  const focused = document.activeElement;
  const area = element("textarea", { class: "off-screen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  // Where it did not work, the text stays selected for a while, for the keyboard.
  const remove = () => {
    area.remove();
    focused?.focus({ preventScroll: true });
  };
  if (copied) remove();
  else setTimeout(remove, 10000);
  return copied;
}

function copyButton(text, label = "Copy") {
  const button = element("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", () => copyText(text, button));
  return button;
}

/** The button that swaps light and dark; it is not remembered. */
function themeButton() {
  const root = document.documentElement;
  const button = element("button", { type: "button", class: "quiet theme" });
  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  const say = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    say();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", say);
  say();
  return button;
}

/** Calls a function once things have been quiet for a moment. */
function whenQuiet(action, milliseconds = 120) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

/** Draws the page; where that fails, says so on the page, which keeps its first lines. */
function drawPage(draw) {
  try {
    draw(document.getElementById("page"), readStory());
  } catch (error) {
    const words = `This page could not be drawn (${error}). The files beside it hold the same.`;
    document.getElementById("page").append(element("p", { class: "callout" }, words));
    throw error;
  }
}
