// The table of all tests of a run: sorted by any column, searched, filtered by verdict.

const VERDICT_ORDER = { failed: 0, running: 1, retried: 2, tolerated: 3, skipped: 4, passed: 5 };

/**
 * An attempt that a later one has made up for, or failed like, does not count for its test. A trial
 * may fail where the trials of its test together have passed.
 */
function verdictOf(row) {
  if (row.superseded) return "retried";
  return row.verdict === "failed" && row.tolerated ? "tolerated" : row.verdict;
}

// Columns without a word in any row are left out.
const COLUMNS = [
  { id: "verdict", label: "Verdict", value: (row) => VERDICT_ORDER[verdictOf(row)] ?? 6, cell: (row) => verdictBadge(verdictOf(row)) },
  { id: "test", label: "Test", value: (row) => row.test, cell: testCell },
  { id: "fault", label: "Fault", value: (row) => row.fault, cell: (row) => FAULTS[row.fault] ?? row.fault },
  { id: "attempt", label: "Attempt", isNumber: true, value: (row) => row.attempt, cell: (row) => (row.attempt > 1 || row.superseded ? String(row.attempt) : "") },
  { id: "duration", label: "Duration", isNumber: true, value: (row) => row.duration, cell: (row) => formatDuration(row.duration) },
  { id: "startup", label: "Start-up", isNumber: true, value: (row) => row.startup, cell: (row) => formatDuration(row.startup) },
  { id: "steps", label: "Steps", isNumber: true, value: (row) => row.steps, cell: (row) => formatNumber(row.steps) },
  { id: "llm", label: "LLM calls", isNumber: true, value: (row) => row.llm_calls, cell: (row) => formatNumber(row.llm_calls) },
  { id: "tokens", label: "Tokens", isNumber: true, value: (row) => row.tokens, cell: (row) => formatNumber(row.tokens) },
  { id: "cost", label: "Cost", isNumber: true, value: (row) => row.cost, cell: (row) => (row.cost ? formatCost(row.cost) : "") }, // scripts and recordings cost nothing
  { id: "worker", label: "Worker", value: (row) => row.worker, cell: (row) => row.worker && outside(row.worker) },
];

function testCell(row) {
  const name = testName(row.test, { class: "test-name" });
  return [
    row.page ? fileLink(row.page, name) : name,
    row.headline && element("div", { class: "row-headline" }, outside(row.headline)),
  ];
}

/** Orders two rows by a column; those without a value come last, either way. */
function comparing({ value }, direction) {
  const isEmpty = (found) => found === null || found === undefined || found === "";
  return (one, other) => {
    const [a, b] = [value(one.row), value(other.row)];
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
    if (a === b) return one.at - other.at;
    return (a < b ? -1 : 1) * direction;
  };
}

class Table {
  constructor(rows) {
    this.columns = COLUMNS.filter((column) => rows.some((row) => isWorthShowing(column.cell(row))));
    this.entries = rows.map((row, at) => ({ row, at, node: this.drawRow(row), words: wordsOf(row) }));
    this.sorted = { column: COLUMNS[0], direction: 1 };
    this.verdicts = new Set();
    this.body = element("tbody");
    this.heads = this.columns.map((column) => this.drawHead(column));
    this.count = element("output", { class: "count", "aria-live": "polite" });
    this.empty = element("p", { class: "nothing", hidden: true }, "No test is shown.");
    this.search = element("input", {
      type: "search",
      placeholder: "Search the tests",
      "aria-label": "Search the tests",
      autocomplete: "off",
      spellcheck: "false",
      input: whenQuiet(() => this.filter()),
      keydown: (event) => this.onSearchKey(event),
    });
    this.sort();
    this.filter();
  }

  drawRow(row) {
    const cells = this.columns.map((column) =>
      element(
        "td",
        { class: `${column.id}${column.isNumber ? " number" : ""}`, "data-label": column.label },
        column.cell(row) || null,
      ),
    );
    return element("tr", { class: verdictOf(row) }, cells);
  }

  drawHead(column) {
    const click = () => {
      const isSame = this.sorted.column === column;
      const first = column.isNumber ? -1 : 1; // the largest numbers are the ones looked for
      this.sorted = { column, direction: isSame ? -this.sorted.direction : first };
      this.sort();
    };
    return element(
      "th",
      { scope: "col", class: `${column.id}${column.isNumber ? " number" : ""}`, "data-id": column.id },
      element("button", { type: "button", click }, column.label),
    );
  }

  sort() {
    const { column, direction } = this.sorted;
    this.entries.sort(comparing(column, direction));
    this.body.append(...this.entries.map((entry) => entry.node));
    for (const head of this.heads) {
      if (head.dataset.id !== column.id) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    }
  }

  filter() {
    const words = this.search.value.trim().toLowerCase();
    let shown = 0;
    for (const { row, node, words: found } of this.entries) {
      const passes = !this.verdicts.size || this.verdicts.has(verdictOf(row));
      node.hidden = !passes || !found.includes(words);
      if (!node.hidden) shown += 1;
    }
    this.count.textContent = `${formatNumber(shown)} of ${formatNumber(this.entries.length)}`;
    this.empty.hidden = shown > 0;
  }

  onSearchKey(event) {
    if (event.key !== "Escape") return;
    if (this.search.value === "") this.search.blur();
    this.search.value = "";
    this.filter();
  }

  verdictChips() {
    return Object.keys(VERDICT_ORDER).map((verdict) => {
      const number = this.entries.filter((entry) => verdictOf(entry.row) === verdict).length;
      if (!number) return null;
      const chip = element(
        "button",
        { type: "button", class: `chip ${verdict}`, "aria-pressed": "false" },
        VERDICTS[verdict],
        element("span", { class: "number" }, formatNumber(number)),
      );
      chip.addEventListener("click", () => {
        if (!this.verdicts.delete(verdict)) this.verdicts.add(verdict);
        chip.setAttribute("aria-pressed", String(this.verdicts.has(verdict)));
        this.filter();
      });
      return chip;
    });
  }

  draw() {
    return element(
      "main",
      {},
      element(
        "div",
        { class: "toolbar" },
        element("label", { class: "search" }, this.search, element("kbd", {}, "/")),
        element("div", { class: "chip-row" }, this.verdictChips()),
        this.count,
      ),
      element("table", {}, element("thead", {}, element("tr", {}, this.heads)), this.body),
      this.empty,
    );
  }
}

function isWorthShowing(content) {
  return Array.isArray(content) || content instanceof Node || Boolean(content);
}

function wordsOf(row) {
  return [row.test, row.headline, FAULTS[row.fault], row.worker].join("\n").toLowerCase();
}

function runHeader(story) {
  const { rows } = story;
  const sum = (pick) => rows.reduce((total, row) => total + (pick(row) ?? 0), 0);
  const number = (verdict) => rows.filter((row) => verdictOf(row) === verdict).length;
  const tokens = sum((row) => row.tokens);
  const cost = rows.some((row) => row.cost !== null) ? sum((row) => row.cost) : null;
  const totals = [
    ...Object.keys(VERDICT_ORDER).map((verdict) => [VERDICTS[verdict], number(verdict), verdict]),
    ["Duration", formatDuration(story.duration)],
    ["Tokens", tokens && formatNumber(tokens)],
    ["Cost", cost && formatCost(cost)],
  ];
  return element(
    "header",
    { class: "page-header" },
    element("h1", {}, outside(story.title), runName(story)),
    element(
      "p",
      { class: "when" },
      "Data: ",
      fileLink("results.jsonl", "results.jsonl"),
      story.groups.length > 0 && [", ", fileLink("trials.jsonl", "trials.jsonl")],
    ),
    element(
      "dl",
      { class: "tiles" },
      totals
        .filter(([, value]) => value)
        .map(([label, value, verdict]) =>
          element(
            "div",
            { class: verdict ?? "" },
            element("dt", {}, label),
            element("dd", {}, typeof value === "number" ? formatNumber(value) : value),
          ),
        ),
    ),
  );
}

/** Which run it is: when it began. */
function runName(story) {
  const when = moment(story.started);
  return when && element("span", { class: "run" }, "run of ", when);
}

function drawRun(page, story) {
  const table = new Table(story.rows);
  page.replaceChildren(
    element("div", { class: "page-nav" }, element("span", { class: "push" }, themeButton())),
    runHeader(story),
    ...(story.groups.length ? [drawGroups(story.groups)] : []),
    table.draw(),
  );
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target === table.search) return;
    event.preventDefault();
    table.search.focus();
  });
}

drawPage(drawRun);
