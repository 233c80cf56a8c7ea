// The parts of a test's page around the steps: pytest's words, changes, environment, files.

function section(id, title, ...children) {
  const head = element("div", { class: "section-head" }, element("h2", {}, title));
  return element("section", { id, class: "panel" }, head, ...children);
}

const FAILURE_FOLD = { head: 10, tail: 26 };

function failures(story) {
  if (!story.failures.length) return null;
  const boxes = story.failures.map((failure) => {
    const hasColours = failure.text.includes("\x1b");
    return element(
      "div",
      { class: "part" },
      element(
        "div",
        { class: "part-head" },
        element("span", { class: "part-label" }, outside(failure.phase)),
        copyButton(withoutEscapes(failure.text)),
      ),
      textBox(failure.text, hasColours ? "terminal" : "failure", { folded: FAILURE_FOLD }),
    );
  });
  return section("failure", "What pytest says", boxes);
}

const OPEN_CHANGES = 3;
const LONG_CHANGE = 200;

/** A changed file; its diff is drawn when it is first opened. */
class ChangeView {
  constructor(change, number) {
    this.change = change;
    this.body = null;
    const status = change.status || "changed";
    this.head = element(
      "button",
      {
        type: "button",
        class: "change-head",
        "aria-expanded": "false",
        click: () => this.toggle(),
      },
      element("span", { class: `status ${status}` }, status),
      element("span", { class: "off-screen" }, ": "),
      outside(change.path, { class: "path" }),
      element("span", { class: "plus" }, `+${formatNumber(change.added)}`),
      element("span", { class: "minus" }, `\u2212${formatNumber(change.removed)}`),
    );
    this.row = element("li", { class: "change", id: `change-${number}` }, this.head);
  }

  toggle(open = this.head.getAttribute("aria-expanded") !== "true") {
    this.head.setAttribute("aria-expanded", String(open));
    if (open && this.body === null) {
      const { diff, cut } = this.change;
      this.body = element(
        "div",
        { class: "change-body" },
        diff ? textBox(diff, "diff", { folded: { head: 60, tail: 20 } }) : noDiff(),
        changeCut(cut),
      );
      this.row.append(this.body);
    }
    if (this.body) this.body.hidden = !open;
  }
}

function noDiff() {
  return element("p", { class: "nothing" }, "There is no text to compare.");
}

function changeCut(cut) {
  if (!cut) return null;
  const words = `… ${count(cut, "character")} are left out; the files beside this page hold more`;
  return element("p", { class: "cut-note" }, words);
}

function changes(story, views) {
  const isKnown = story.brief.length > 0 || story.changes_note;
  if (!views.length && !isKnown) return null;
  const isShort = ({ change }) => change.added + change.removed <= LONG_CHANGE;
  for (const view of views.slice(0, OPEN_CHANGES).filter(isShort)) view.toggle(true);
  return section(
    "changes",
    "Changes",
    story.changes_note && element("p", { class: "callout" }, outside(story.changes_note)),
    views.length > 0
      ? element("ul", { class: "changes" }, views.map((view) => view.row))
      : !story.changes_note && element("p", { class: "nothing" }, "Nothing changed on disk."),
  );
}

function environment(story) {
  if (!story.environment.length) return null;
  const boxes = story.environment.map(({ title, facts }) =>
    element("div", { class: "environment" }, element("h3", {}, outside(title)), factList(facts)),
  );
  return section("environment", "Environment", element("div", { class: "columns" }, boxes));
}

function files(story) {
  if (!story.files.length) return null;
  const rows = story.files.map(({ name, size }) =>
    element(
      "li",
      {},
      fileLink(name, outside(name)),
      element("span", { class: "muted" }, formatSize(size)),
    ),
  );
  return section("files", "Files", element("ul", { class: "files" }, rows));
}

function masked(number) {
  if (number === null) return "Secret values were masked, but not counted.";
  if (number === 0) return "No known secret was found in this evidence.";
  return `${count(number, "secret value")} ${number === 1 ? "was" : "were"} masked.`;
}

function footer(story) {
  return element(
    "footer",
    { class: "page-footer" },
    element("p", {}, masked(story.masked)),
    story.cuts.length > 0 && [
      element("p", {}, "This page leaves out:"),
      element("ul", {}, story.cuts.map((cut) => element("li", {}, outside(cut)))),
    ],
  );
}
