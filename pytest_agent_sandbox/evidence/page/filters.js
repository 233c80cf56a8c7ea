// The toolbar above the steps: search, kinds, tools; and which steps are shown for it.

const OFF_AT_FIRST = ["state", "log"];

// What a browser opens without a pause.
const MOST_OPENED = 500;

class Filters {
  constructor(views) {
    this.views = views;
    this.pattern = null;
    this.tool = "";
    this.kinds = new Set(Object.keys(KINDS).filter((kind) => !OFF_AT_FIRST.includes(kind)));
    this.search = element("input", {
      type: "search",
      placeholder: "Search the steps",
      "aria-label": "Search the steps",
      autocomplete: "off",
      spellcheck: "false",
      input: whenQuiet(() => this.apply()),
      keydown: (event) => this.onKey(event),
    });
    this.count = element("output", { class: "count", "aria-live": "polite" });
    this.chips = Object.keys(KINDS).map((kind) => this.chip(kind)).filter(Boolean);
    this.select = this.toolSelect();
    this.empty = element("p", { class: "nothing", hidden: true }, "No step is shown.");
  }

  draw() {
    const openAll = () => {
      for (const view of this.shown().slice(0, MOST_OPENED)) view.toggle(true);
    };
    const title = `At most ${MOST_OPENED} at once`;
    const closeAll = () => {
      for (const view of this.views) if (view.isOpen) view.toggle(false);
    };
    return element(
      "div",
      { class: "toolbar" },
      element(
        "div",
        { class: "search-row" },
        element("label", { class: "search" }, this.search, element("kbd", {}, "/")),
        this.count,
        this.select,
        element(
          "span",
          { class: "push" },
          element("button", { type: "button", class: "small", title, click: openAll }, "Expand all"),
          element("button", { type: "button", class: "small", click: closeAll }, "Collapse all"),
        ),
      ),
      element("div", { class: "chip-row" }, this.chips),
    );
  }

  chip(kind) {
    const number = this.views.filter((view) => isOfKind(view.step, kind)).length;
    if (!number) return null;
    return element(
      "button",
      {
        type: "button",
        class: `chip ${kind}`,
        "aria-pressed": String(this.kinds.has(kind)),
        "data-kind": kind,
        click: (event) => this.toggleKind(kind, event.altKey || event.shiftKey),
      },
      element("span", { class: "icon" }),
      KINDS[kind],
      element("span", { class: "number" }, formatNumber(number)),
    );
  }

  toggleKind(kind, isAlone) {
    if (isAlone) this.kinds = new Set([kind]);
    else if (!this.kinds.delete(kind)) this.kinds.add(kind);
    for (const chip of this.chips) {
      chip.setAttribute("aria-pressed", String(this.kinds.has(chip.dataset.kind)));
    }
    this.apply();
  }

  toolSelect() {
    const tools = [...new Set(this.views.map((view) => view.step.tool).filter(Boolean))].sort();
    if (tools.length < 2) return null;
    const change = () => {
      this.tool = this.select.value;
      this.apply();
    };
    const option = (tool) => {
      const words = visibleNodes(tool).map((node) => node.textContent ?? node).join("");
      return element("option", { value: tool, dir: "auto" }, words);
    };
    return element(
      "select",
      { "aria-label": "Tool", change },
      element("option", { value: "" }, "All tools"),
      tools.map(option),
    );
  }

  shown() {
    return this.views.filter((view) => view.isShown);
  }

  /** Shows the steps that pass, hides the others. */
  apply() {
    this.pattern = patternOf(this.search.value);
    let hiddenMatches = 0;
    for (const view of this.views) {
      const matches = this.pattern === null || isFound(this.pattern, view.words);
      const passes = this.passes(view.step);
      view.row.hidden = !matches || !passes;
      if (matches && !passes) hiddenMatches += 1;
      if (view.isShown && view.isOpen) view.mark();
    }
    this.tell(hiddenMatches);
  }

  passes(step) {
    if (this.tool && step.tool !== this.tool) return false;
    return Object.keys(KINDS).some((kind) => this.kinds.has(kind) && isOfKind(step, kind));
  }

  tell(hiddenMatches) {
    const shown = this.shown().length;
    const words = `${formatNumber(shown)} of ${formatNumber(this.views.length)}`;
    const more = this.pattern && hiddenMatches ? `, ${formatNumber(hiddenMatches)} more filtered out` : "";
    this.count.textContent = words + more;
    this.empty.hidden = shown > 0;
  }

  onKey(event) {
    if (event.key === "Escape") {
      if (this.search.value === "") this.search.blur();
      this.search.value = "";
      this.apply();
    } else if (event.key === "Enter") {
      this.apply();
      const [first] = this.shown();
      if (!first) return;
      first.toggle(true);
      first.focus();
    } else return;
    event.preventDefault();
  }
}

/** An error of any kind is an error too. */
function isOfKind(step, kind) {
  return kind === "error" ? step.is_error || step.kind === "error" : step.kind === kind;
}
