// Output of programs as a terminal would show it: colours, and lines that were overwritten.

// In this order: a colour or style; other control sequences; texts to the terminal itself, such as
// titles and links (on one line and of a sane length: one without end must not hide what follows);
// short escapes.
const ESCAPES = new RegExp(
  [
    "\\x1b\\[([0-9;:]*)m",
    "\\x1b\\[([0-?]*)[ -/]*([@-~])",
    "\\x1b[\\]PX^_][^\\x07\\x1b\\n]{0,4000}(?:\\x07|\\x1b\\\\)",
    "\\x1b[ -/]*[0-OQ-WYZ\\\\`-~]",
  ].join("|"),
  "g",
);

function withoutEscapes(text) {
  return text.includes("\x1b") ? text.replace(ESCAPES, "") : text;
}

const PLAIN_STYLE = Object.freeze({});

/** The lines of a terminal's text, each a list of runs. */
function terminalLines(text) {
  const screen = { lines: [], cells: [], column: 0, style: PLAIN_STYLE };
  let end = 0;
  for (const match of text.matchAll(ESCAPES)) {
    write(screen, text.slice(end, match.index));
    if (match[1] !== undefined) screen.style = nextStyle(screen.style, match[1]);
    else if (match[3] === "K") eraseInLine(screen, match[2]);
    end = match.index + match[0].length;
  }
  write(screen, text.slice(end));
  screen.lines.push(runsOfCells(screen.cells));
  return screen.lines;
}

function write(screen, text) {
  for (const character of text) {
    if (character === "\n") {
      screen.lines.push(runsOfCells(screen.cells));
      screen.cells = [];
      screen.column = 0;
    } else if (character === "\r") {
      screen.column = 0;
    } else if (character === "\b") {
      screen.column = Math.max(screen.column - 1, 0);
    } else {
      screen.cells[screen.column] = { character, style: screen.style };
      screen.column += 1;
    }
  }
}

function eraseInLine(screen, what) {
  if (what === "" || what === "0") screen.cells.length = Math.min(screen.cells.length, screen.column);
  else if (what === "2") screen.cells = screen.cells.map(() => ({ character: " ", style: PLAIN_STYLE }));
}

function runsOfCells(cells) {
  const runs = [];
  let last = null;
  for (const cell of cells) {
    if (last !== null && last.style === cell.style) {
      last.text += cell.character;
    } else {
      last = { text: cell.character, style: cell.style, ...lookOf(cell.style) };
      runs.push(last);
    }
  }
  return runs;
}

const STYLES_ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const STYLES_OFF = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["strike"],
  39: ["colour"],
  49: ["ground"],
};

/** The style after a sequence such as `1;31`. */
function nextStyle(style, sequence) {
  const codes = sequence.split(/[;:]/).map(Number);
  let next = { ...style };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) next = {};
    else if (STYLES_ON[code]) next[STYLES_ON[code]] = true;
    else if (STYLES_OFF[code]) STYLES_OFF[code].forEach((name) => { delete next[name]; });
    else if (code === 38 || code === 48) {
      const [colour, used] = longColour(codes.slice(at + 1));
      if (colour !== null) next[code === 38 ? "colour" : "ground"] = colour;
      at += used;
    } else if (code >= 30 && code <= 37) next.colour = code - 30;
    else if (code >= 40 && code <= 47) next.ground = code - 40;
    else if (code >= 90 && code <= 97) next.colour = code - 82;
    else if (code >= 100 && code <= 107) next.ground = code - 92;
  }
  return Object.keys(next).length ? next : PLAIN_STYLE;
}

/** A colour of 256 or of all, and how many codes it took. */
function longColour(codes) {
  const byte = (value) => Math.min(Math.max(value || 0, 0), 255);
  if (codes[0] === 5 && codes.length === 1) return [null, 1];
  if (codes[0] === 5) return [codes[1] < 16 ? codes[1] : paletteColour(byte(codes[1])), 2];
  if (codes[0] === 2) return [`rgb(${codes.slice(1, 4).map(byte).join(" ")})`, 4];
  return [null, 0];
}

function paletteColour(index) {
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  const parts = [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6];
  return `rgb(${parts.map(level).join(" ")})`;
}

/** The classes of a style, and the colours that no class names. */
function lookOf(style) {
  if (style === PLAIN_STYLE) return {};
  const names = Object.values(STYLES_ON).filter((name) => style[name]);
  const colours = {};
  for (const [property, prefix] of [["colour", "ink"], ["ground", "ground"]]) {
    const value = style[property];
    if (typeof value === "number") names.push(`${prefix}-${value}`);
    else if (value) {
      names.push(prefix);
      colours[prefix === "ink" ? "--ink" : "--ground-colour"] = value;
    }
  }
  if (style.ground !== undefined) names.push("on-ground");
  return { className: names.map((name) => `ansi-${name}`).join(" "), colours };
}
