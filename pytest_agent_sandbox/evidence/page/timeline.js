// The strip of the whole time: when the LLM worked, when tools did, and when nobody did.

// Bars are merged where they would be thinner than this share of the strip (a pixel of a wide one).
const THINNEST = 1 / 1100;
// How many of those a merged bar may be wide: small enough to show when there was much to do.
const WIDEST_MERGED = 5;
const SHORTEST_IDLE = 0.004;

const hasTime = (step) => step.time !== null && step.time !== undefined;

/** The spans of steps of one kind, in order. */
function spansOf(steps, isWanted) {
  const spans = [];
  steps.forEach((step, at) => {
    if (!hasTime(step) || !isWanted(step)) return;
    const end = step.time + Math.max(step.duration ?? 0, 0);
    const title = step.is_error ? `${step.title}, failed` : step.title;
    spans.push({ start: step.time, end, steps: [at + 1], title, isError: step.is_error });
  });
  return spans.sort((one, other) => one.start - other.start);
}

/** Spans as they cover the time, without overlaps. */
function union(spans) {
  const covered = [];
  for (const span of spans) {
    const last = covered.at(-1);
    if (last && span.start <= last.end) last.end = Math.max(last.end, span.end);
    else covered.push({ start: span.start, end: span.end });
  }
  return covered;
}

const sumOf = (spans) => spans.reduce((sum, span) => sum + span.end - span.start, 0);

function gapsBetween(covered, start, end) {
  const gaps = [];
  let at = start;
  for (const span of [...covered, { start: end, end }]) {
    if (span.start > at) gaps.push({ start: at, end: span.start });
    at = Math.max(at, span.end);
  }
  return gaps;
}

/** Joins spans too small to be drawn one by one; `covered` tells how much of a bar they fill. */
function merged(spans, whole) {
  const bars = [];
  const thin = whole * THINNEST;
  for (const span of spans) {
    const last = bars.at(-1);
    const length = span.end - span.start;
    const isSmall = length < 3 * thin;
    if (last?.isSmall && isSmall && span.end - last.start < WIDEST_MERGED * thin) {
      last.covered += Math.max(span.end - Math.max(span.start, last.end), 0);
      last.end = Math.max(last.end, span.end);
      last.steps.push(...span.steps);
      last.isError ||= span.isError;
    } else {
      bars.push({ ...span, steps: [...span.steps], isSmall, covered: length });
    }
  }
  return bars;
}

/** Times for the axis: a round distance, and about six of them. */
function ticksOf(start, end) {
  const rough = (end - start) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const rounds = [1, 2, 5, 10].map((factor) => factor * power);
  // Above ten seconds, minutes are rounder than tens.
  const long = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  const choices = rough > 8 && rough < 14400 ? long : rounds;
  const distance = choices.find((choice) => choice >= rough) ?? rounds.at(-1);
  const ticks = [];
  for (let time = Math.ceil(start / distance) * distance; time <= end; time += distance) {
    ticks.push(time);
  }
  return ticks;
}

function tickLabel(seconds, end) {
  if (end < 60) return `${Number(seconds.toFixed(3))} s`;
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;
}

/** The section, or null where there are no times to draw. */
function timeline(story, jump) {
  const timed = spansOf(story.steps, (step) => step.kind !== "log");
  if (!timed.length) return null;
  const start = timed[0].start;
  const end = timed.reduce((latest, span) => Math.max(latest, span.end), start);
  if (end - start < 0.001) return null;
  const scale = { start, whole: end - start };
  const llm = spansOf(story.steps, (step) => step.kind === "llm");
  const tools = spansOf(story.steps, (step) => step.kind === "tool");
  const own = spansOf(story.steps, (step) => step.kind === "test");
  const busy = union([...llm, ...tools].sort((one, other) => one.start - other.start));
  const idle = gapsBetween(busy, start, end);
  const lanes = [
    lane("LLM", "llm", merged(llm, scale.whole), scale, jump),
    lane("Tools", "tool", merged(tools, scale.whole), scale, jump),
    own.length ? lane("Test", "test", merged(own, scale.whole), scale, jump) : null,
    ...story.services.map((name) => serviceLane(name, story, scale, jump)),
    marksLane(story, scale, jump),
  ];
  return element(
    "section",
    { id: "timeline", class: "panel" },
    element(
      "div",
      { class: "section-head" },
      element("h2", {}, "Timeline"),
      legend(scale.whole, sumOf(union(llm)), sumOf(union(tools)), sumOf(idle)),
    ),
    element("div", { class: "lanes" }, idleBars(idle, scale), lanes, axis(scale)),
  );
}

function legend(whole, ...sums) {
  const kinds = [["llm", "LLM"], ["tool", "Tools"], ["idle", "Idle"]];
  return element(
    "ul",
    { class: "legend" },
    kinds.map(([kind, label], at) =>
      element(
        "li",
        {},
        element("span", { class: `swatch ${kind}` }),
        `${label} `,
        element("b", {}, formatDuration(sums[at])),
        element("span", { class: "muted" }, ` ${Math.round((100 * sums[at]) / whole)} %`),
      ),
    ),
  );
}

function place(node, span, { start, whole }) {
  node.style.setProperty("left", `${(100 * (span.start - start)) / whole}%`);
  node.style.setProperty("width", `${(100 * (span.end - span.start)) / whole}%`);
  return node;
}

function idleBars(gaps, scale) {
  const shown = gaps.filter((gap) => gap.end - gap.start > scale.whole * SHORTEST_IDLE);
  const bars = shown.map((gap) => {
    const title = `Idle, ${formatDuration(gap.end - gap.start)} from ${formatClock(gap.start)}`;
    return place(element("div", { class: "idle-bar", title }), gap, scale);
  });
  return element("div", { class: "track idle-track" }, bars);
}

function lane(label, kind, bars, scale, jump) {
  const buttons = bars.map((bar) => {
    const what = bar.steps.length > 1 ? count(bar.steps.length, "step") : bar.title;
    const title = `${what}, ${formatDuration(bar.covered)} from ${formatClock(bar.start)}`;
    const isMerged = bar.steps.length > 1;
    const className = `bar ${kind}${isMerged ? " merged" : ""}${bar.isError ? " failed" : ""}`;
    const button = place(barButton(className, title, bar, jump), bar, scale);
    if (isMerged) button.style.setProperty("height", `${heightOf(bar)}%`);
    return button;
  });
  return laneOf(label, buttons);
}

/** When a service printed something: each mark leads to its line of the log. */
function serviceLane(name, story, scale, jump) {
  const spans = [];
  story.log.forEach((line, at) => {
    if (line.container !== name || !hasTime(line)) return;
    if (line.time < scale.start || line.time > scale.start + scale.whole) return;
    const isError = levelOf(line) === "error";
    const title = line.text;
    spans.push({ start: line.time, end: line.time, steps: [at + 1], title, isError });
  });
  const buttons = merged(spans, scale.whole).map((bar) => {
    const what = bar.steps.length > 1 ? count(bar.steps.length, "line") : bar.title;
    const title = `${name}: ${what} at ${formatClock(bar.start)}`;
    const button = barButton(`mark ${bar.isError ? "error" : "service"}`, title, bar, jump, "log");
    return place(button, { start: bar.start, end: bar.start }, scale);
  });
  return laneOf(name, buttons);
}

/** A bar of many steps is as high as the part of its time that they fill. */
function heightOf({ start, end, covered }) {
  return end > start ? Math.max(Math.round((100 * covered) / (end - start)), 15) : 100;
}

/** Errors of the agent's steps, and warnings of the container's log. */
function marksLane(story, scale, jump) {
  const isWarning = (step) => step.kind === "log" && !step.is_error;
  const marks = [
    ...merged(spansOf(story.steps, isWarning), scale.whole).map((bar) => ({ ...bar, kind: "log" })),
    ...merged(spansOf(story.steps, (step) => step.is_error), scale.whole).map((bar) => ({
      ...bar,
      kind: "error",
    })),
  ].filter((bar) => bar.start >= scale.start && bar.start <= scale.start + scale.whole);
  const buttons = marks.map((bar) => {
    const noun = bar.kind === "error" ? "error" : "line of the log";
    const what = bar.steps.length > 1 ? `${bar.steps.length} × ${noun}` : `${noun}: ${bar.title}`;
    const button = barButton(`mark ${bar.kind}`, `${what} at ${formatClock(bar.start)}`, bar, jump);
    return place(button, { start: bar.start, end: bar.start }, scale);
  });
  return buttons.length ? laneOf("Errors", buttons) : null;
}

function barButton(className, title, bar, jump, kind = "step") {
  const click = () => jump(`${kind}-${bar.steps[0]}`);
  const shown = title.length > 300 ? `${title.slice(0, 300)}…` : title;
  const safe = visibleNodes(shown).map((node) => node.textContent ?? node).join("");
  const attributes = { type: "button", class: className, title: safe, "aria-label": safe, click };
  return element("button", { ...attributes, tabindex: "-1" });
}

/** A lane is one stop of the Tab key; arrow keys go through its bars. */
function laneOf(label, buttons) {
  const keydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    const next = buttons[at + step];
    if (!step || at < 0 || !next) return;
    event.preventDefault();
    buttons[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  };
  buttons[0]?.setAttribute("tabindex", "0");
  return element(
    "div",
    { class: "lane", role: "group", "aria-label": `${label}: arrow keys go from bar to bar`, keydown },
    element("span", { class: "lane-label", "aria-hidden": "true" }, label),
    element("div", { class: "track" }, buttons),
  );
}

function axis(scale) {
  const end = scale.start + scale.whole;
  const ticks = ticksOf(scale.start, end).map((time) => {
    const tick = element("span", { class: "tick" }, element("span", {}, tickLabel(time, end)));
    return place(tick, { start: time, end: time }, scale);
  });
  return element("div", { class: "track axis", "aria-hidden": "true" }, ticks);
}
