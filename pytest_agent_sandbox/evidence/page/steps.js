// The list of steps. A row is made at once, its body when it is first opened.

const KINDS = {
  message: "Messages",
  tool: "Tools",
  test: "Test\u2019s own",
  llm: "LLM calls",
  error: "Errors",
  state: "State",
  log: "Log",
  other: "Other",
};
const KIND_NAMES = {
  message: "Message",
  tool: "Tool",
  test: "Command of the test",
  llm: "LLM call",
  error: "Error",
  state: "State",
  log: "Log",
  other: "Event",
};

/** A step, and what is on the page of it. */
class StepView {
  constructor(step, number, { showConversation, pictures, patternNow }) {
    this.step = step;
    this.pictures = pictures;
    this.number = number;
    this.id = `step-${number}`;
    this.patternNow = patternNow;
    this.isMatched = false;
    this.body = null;
    this.head = element(
      "button",
      {
        type: "button",
        class: "step-head",
        "aria-expanded": "false",
        click: () => this.toggle(),
      },
      element("span", { class: "time" }, formatClock(step.time)),
      element("span", { class: "icon", title: KIND_NAMES[step.kind] }),
      element("span", { class: "off-screen" }, `${KIND_NAMES[step.kind]}: `),
      titleOf(step),
      element(
        "span",
        { class: "summary" },
        showConversation && step.conversation && conversationTag(step),
        outcomeTag(step),
        pictureSign(step.pictures),
        outside(step.summary),
      ),
      element("span", { class: "duration" }, formatDuration(step.duration)),
    );
    const label = `Link to step ${number}`;
    this.row = element(
      "li",
      { class: `step ${step.kind}${step.is_error ? " is-error" : ""}`, id: this.id },
      this.head,
      element("a", { class: "anchor", href: `#${this.id}`, "aria-label": label }, `#${number}`),
    );
  }

  get isOpen() {
    return this.head.getAttribute("aria-expanded") === "true";
  }

  get isShown() {
    return !this.row.hidden;
  }

  toggle(open = !this.isOpen) {
    this.head.setAttribute("aria-expanded", String(open));
    this.row.classList.toggle("open", open);
    if (open && this.body === null) {
      this.body = stepBody(this.step, this.pictures, this.patternNow);
      this.row.append(this.body);
    }
    if (this.body) this.body.hidden = !open;
    if (open) this.mark();
  }

  /** Marks what is searched for, where it can be seen. */
  mark() {
    if (this.body) markMatches(this.body, this.patternNow());
  }

  focus() {
    this.head.focus({ preventScroll: true });
    this.row.scrollIntoView({ block: "nearest" });
  }

  /** All that a search looks through. */
  get words() {
    this.allWords ??= wordsOf(this.step);
    return this.allWords;
  }
}

function wordsOf({ title, summary, facts, parts, pictures }) {
  const texts = parts.map((part) =>
    part.format === "terminal" ? withoutEscapes(part.text) : part.text,
  );
  return [title, summary, ...facts.flat(), ...texts, ...pictures].join("\n");
}

function titleOf(step) {
  return outside(step.title || KIND_NAMES[step.kind], { class: "title" });
}

/** Says in words that it is an error, where nothing else in the row does. */
function outcomeTag(step) {
  const facts = new Map(step.facts);
  const code = facts.get("exit code");
  if (code && code !== "0") return element("span", { class: "error-tag" }, `exit ${code}`);
  if (!step.is_error || step.kind === "error" || step.title.toLowerCase() === "error") return null;
  const isOpen = facts.get("result")?.startsWith("none");
  return element("span", { class: "error-tag" }, isOpen ? "no result" : "error");
}

function conversationTag(step) {
  const title = `conversation ${step.conversation}`;
  return outside(step.conversation, { class: "tag", title: step.kind === "log" ? null : title });
}

function factList(facts) {
  return element(
    "dl",
    { class: "facts" },
    facts.map(([label, value]) =>
      element("div", {}, element("dt", {}, outside(label)), element("dd", {}, outside(value))),
    ),
  );
}

function stepBody(step, pictures, patternNow) {
  const body = element("div", { class: "step-body" });
  if (step.facts.length) body.append(factList(step.facts));
  for (const part of step.parts) body.append(partBox(part, patternNow));
  const seen = pictureBoxes(step.pictures, pictures);
  if (seen !== null) body.append(seen);
  if (!body.childElementCount) {
    body.append(textBox(step.summary || "There is nothing more to show.", "text"));
  }
  return body;
}

function partBox(part, patternNow) {
  const isWanted = (lines) => {
    const pattern = patternNow();
    if (pattern === null) return false;
    return lines.some((runs) => isFound(pattern, runs.map((run) => run.text).join("")));
  };
  return element(
    "div",
    { class: "part" },
    element(
      "div",
      { class: "part-head" },
      element("span", { class: "part-label" }, outside(part.label)),
      copyButton(part.format === "terminal" ? withoutEscapes(part.text) : part.text),
    ),
    textBox(part.text, part.format, { isWanted }),
    cutNote(part.cut),
  );
}

function cutNote(cut) {
  if (!cut) return null;
  const words = `… ${count(cut, "character")} are left out; events.jsonl holds more`;
  return element("p", { class: "cut-note" }, words);
}

/** The steps that are open when the page opens: errors, and the last things that were done. */
function openAtFirst(views) {
  const errors = views.filter((view) => view.step.is_error || view.step.kind === "error");
  const deeds = views.filter(({ step }) => ["tool", "test", "message", "error"].includes(step.kind));
  return new Set([...errors.slice(0, 5), ...deeds.slice(-3)]);
}

/** Moves the focus from row to row, past those that are filtered out. */
function moveFocus(views, direction) {
  const now = document.activeElement?.closest(".step");
  let at = views.findIndex((view) => view.row === now);
  if (at < 0) at = direction > 0 ? firstOnScreen(views) - 1 : firstOnScreen(views) + 1;
  do at += direction;
  while (views[at] && !views[at].isShown);
  views[at]?.focus();
}

/** The first row below the toolbar; a search by halves, as there may be thousands. */
function firstOnScreen(views) {
  const shown = views.filter((view) => view.isShown);
  let low = 0;
  let high = shown.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shown[middle].row.getBoundingClientRect().bottom < 160) low = middle + 1;
    else high = middle;
  }
  return views.indexOf(shown[low]);
}
