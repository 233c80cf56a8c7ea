// The top of a test's page: what went wrong, in which test, and how to run it again.

function pageHeader(story) {
  return element(
    "header",
    { class: "page-header", id: "top" },
    element(
      "div",
      { class: "badges" },
      verdictBadge(story.verdict),
      story.fault && faultBadge(story.fault),
      story.attempt > 1 && element("span", { class: "badge plain" }, `Attempt ${story.attempt}`),
    ),
    story.summary && element("p", { class: "outcome" }, outside(story.summary)),
    element("p", { class: "test-name" }, testName(story.test)),
    headline(story),
    story.code && element("p", { class: "code" }, outside(story.code)),
    story.hints.map(callout),
    story.brief.length > 0 && factList(story.brief),
    element("p", { class: "when" }, whenItRan(story)),
    story.totals.length > 0 && tiles(story.totals),
    story.rerun && rerunLine(story.rerun),
  );
}

/** The first sentence of what went wrong, on a line of its own; what follows it below. */
function headline(story) {
  const words = story.headline || story.test;
  const end = /[^\s.]{2}\.(?= \p{Lu})/u.exec(words);
  const first = end ? words.slice(0, end.index + end[0].length) : words;
  const rest = words.slice(first.length).trim();
  return [
    element("h1", { class: `headline${first.length > 90 ? " long" : ""}`, title: words }, outside(first)),
    rest && element("p", { class: "headline-rest" }, outside(rest)),
  ];
}

function callout({ text, step }) {
  const words = outside(text);
  if (!step) return element("p", { class: "callout" }, words);
  const link = element("a", { href: `#step-${step}` }, `step ${step}`);
  return element("p", { class: "callout" }, words, " ", link);
}

function faultBadge(fault) {
  return element(
    "span",
    { class: "badge plain" },
    element("span", { class: "muted" }, "Fault: "),
    FAULTS[fault] ?? fault,
  );
}

function whenItRan(story) {
  const duration = formatDuration(story.duration);
  const parts = [moment(story.started), duration && `took ${duration}`];
  return parts.filter(Boolean).flatMap((part, at) => (at ? [" · ", part] : [part]));
}

function tiles(totals) {
  return element(
    "dl",
    { class: "tiles" },
    totals.map(([label, value]) =>
      element("div", {}, element("dt", {}, outside(label)), element("dd", {}, outside(value))),
    ),
  );
}

function rerunLine(command) {
  return element(
    "div",
    { class: "rerun" },
    element("span", { class: "prompt", "aria-hidden": "true" }, "$"),
    element("code", {}, outside(command)),
    copyButton(command),
  );
}

/** The line that stays at the top: the way to the other parts of the page, and out of it. */
function navigation(story, sections) {
  const link = ([id, label, number]) =>
    element(
      "a",
      { href: `#${id}` },
      label,
      number !== undefined && element("span", { class: "number" }, formatNumber(number)),
    );
  return element(
    "nav",
    { class: "page-nav", "aria-label": "Sections" },
    addressOf(story.index) && fileLink(story.index, "All tests", { class: "out" }),
    sections.map(link),
    element("span", { class: "push" }, helpButton(), themeButton()),
  );
}

/** Shows at which ends of the navigation there is more of it, on a narrow screen. */
function showMore(line) {
  const look = () => {
    line.classList.toggle("more-before", line.scrollLeft > 1);
    line.classList.toggle("more-after", line.scrollLeft + line.clientWidth < line.scrollWidth - 1);
  };
  line.addEventListener("scroll", look, { passive: true });
  addEventListener("resize", look);
  look();
}

const KEYS = [
  [["j", "k"], "next and previous step"],
  [["e"], "next error"],
  [["Enter"], "open or close the step"],
  [["/"], "search the steps"],
  [["Esc"], "clear the search"],
  [["Shift", "click"], "on a kind: only this kind"],
  [["?"], "this help"],
];

const helpDialog = element(
  "dialog",
  { class: "help", "aria-label": "Keys" },
  element("h2", {}, "Keys"),
  element(
    "dl",
    {},
    KEYS.map(([keys, words]) =>
      element(
        "div",
        {},
        element("dt", {}, keys.map((key) => element("kbd", {}, key))),
        element("dd", {}, words),
      ),
    ),
  ),
  element("button", { type: "button", click: () => helpDialog.close() }, "Close"),
);

function openHelp() {
  if (!helpDialog.open) helpDialog.showModal();
}

function helpButton() {
  const attributes = { type: "button", class: "quiet", title: "Keys", "aria-label": "Keys" };
  return element("button", { ...attributes, click: openHelp }, "?");
}
