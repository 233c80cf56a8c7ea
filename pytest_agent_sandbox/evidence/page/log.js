// The container's log, on the same clock as the steps.

const LOG_TAIL = 40;
// Lines are drawn in groups, so that the browser can skip those far away.
const LOG_GROUP = 100;
const LOG_LINE_HEIGHT = 22;

function levelOf(line) {
  const level = line.level.toLowerCase();
  if (/^(error|critical|fatal|exception)/.test(level)) return "error";
  if (level.startsWith("warn")) return "warning";
  return level.startsWith("debug") || level.startsWith("trace") ? "debug" : "info";
}

/** A function that finds the number of the step nearest to a time. */
function nearestStep(steps) {
  const timed = steps
    .map((step, at) => ({ time: step.time, number: at + 1 }))
    .filter((step) => step.time !== null)
    .sort((one, other) => one.time - other.time);
  return (time) => {
    if (!timed.length) return null;
    let low = 0;
    let high = timed.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (timed[middle].time < time) low = middle + 1;
      else high = middle;
    }
    const before = timed[low - 1];
    return before && time - before.time < timed[low].time - time ? before.number : timed[low].number;
  };
}

class LogView {
  constructor(story) {
    this.lines = story.log.map((line, at) => ({ ...line, number: at + 1, grade: levelOf(line) }));
    this.several = new Set(story.log.map((line) => line.container)).size > 1;
    this.nearest = nearestStep(story.steps);
    this.first = Math.min(...story.steps.map((step) => step.time).filter((time) => time !== null));
    this.isFolded = this.lines.length > LOG_TAIL;
    this.onlyBad = false;
    this.pattern = null;
    this.list = element("div", { class: "log-lines" });
    this.count = element("output", { class: "count", "aria-live": "polite" });
    this.more = element("button", {
      type: "button",
      class: "fold",
      click: () => {
        this.isFolded = !this.isFolded;
        this.draw();
      },
    });
    this.search = element("input", {
      type: "search",
      placeholder: "Search the log",
      "aria-label": "Search the log",
      autocomplete: "off",
      spellcheck: "false",
      input: whenQuiet(() => this.filter()),
    });
    this.level = element(
      "select",
      { "aria-label": "Level", change: () => this.filter() },
      element("option", { value: "" }, "All levels"),
      element("option", { value: "bad" }, "Warnings and errors"),
    );
  }

  filter() {
    this.pattern = patternOf(this.search.value);
    this.onlyBad = this.level.value === "bad";
    this.draw();
  }

  passes(line) {
    if (this.onlyBad && line.grade !== "warning" && line.grade !== "error") return false;
    return this.pattern === null || isFound(this.pattern, withoutEscapes(line.text));
  }

  draw() {
    const passing = this.lines.filter((line) => this.passes(line));
    const shown = this.isFolded ? passing.slice(-LOG_TAIL) : passing;
    const groups = [];
    for (let at = 0; at < shown.length; at += LOG_GROUP) {
      const group = shown.slice(at, at + LOG_GROUP);
      const drawn = group.map((line) => this.drawLine(line));
      const box = element("div", { class: "log-group" }, drawn);
      box.style.setProperty("contain-intrinsic-size", `auto ${group.length * LOG_LINE_HEIGHT}px`);
      groups.push(box);
    }
    this.list.replaceChildren(...groups);
    if (this.pattern) markMatches(this.list, this.pattern);
    this.count.textContent = `${formatNumber(passing.length)} of ${formatNumber(this.lines.length)}`;
    this.more.hidden = this.lines.length <= LOG_TAIL || passing.length <= LOG_TAIL;
    this.more.textContent = this.isFolded
      ? `Show all ${count(passing.length, "line")}`
      : `Show the last ${LOG_TAIL} only`;
    return this.list;
  }

  drawLine(line) {
    const number = this.nearest(line.time);
    const time = formatClock(line.time);
    const isLinked = number !== null && line.time !== null && line.time >= this.first;
    return element(
      "div",
      { class: `log-line ${line.grade}`, id: `log-${line.number}` },
      isLinked
        ? element("a", { class: "time", href: `#step-${number}`, title: `To step ${number}` }, time)
        : element("span", { class: "time" }, time),
      outside(line.level, { class: "level" }),
      this.several && outside(line.container, { class: "tag" }),
      logText(line.text),
    );
  }

  /** Shows the line of this number, whatever the filters say. */
  reveal(number) {
    if (this.list.querySelector(`#log-${number}`)) return;
    this.search.value = "";
    this.level.value = "";
    this.isFolded = false;
    this.filter();
  }

  section() {
    const tools = [this.search, this.level, this.count];
    return element(
      "section",
      { id: "log", class: "panel" },
      element("div", { class: "section-head" }, element("h2", {}, "Container log"), tools),
      this.more,
      this.draw(),
    );
  }
}

// The whole of a longer line is in the file of the log.
const LONGEST_LOG_TEXT = 10_000;

// A traceback, say: what it began with and what it came to.
const LONG_LOG_TEXT = 12;
const LOG_FOLDED = { head: 3, tail: 4 };

function logText(text) {
  if (text.split("\n", LONG_LOG_TEXT + 1).length > LONG_LOG_TEXT) {
    return element("div", { class: "log-text" }, textBox(text, "terminal", { folded: LOG_FOLDED }));
  }
  const cut = text.length - LONGEST_LOG_TEXT;
  const shown = cut > 0 ? text.slice(0, LONGEST_LOG_TEXT) : text;
  const drawn = element("span", { class: "log-text" }, drawLines(linesOf(shown, "terminal")));
  if (cut > 0) drawn.append(element("span", { class: "note" }, `… ${count(cut, "character")} more`));
  return drawn;
}
