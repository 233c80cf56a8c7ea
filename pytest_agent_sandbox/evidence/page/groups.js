// The verdicts on tests that were tried several times.

/** In whole percents, unless that would say all or none where it is not. */
function percent(share) {
  const whole = Math.round(share * 100);
  const isRounded = (whole === 0 && share > 0) || (whole === 100 && share < 1);
  return `${isRounded ? (share * 100).toFixed(2) : whole}%`;
}

function drawGroups(groups) {
  return element(
    "section",
    { class: "groups", "aria-label": "Tests that were tried several times" },
    element("h2", {}, "Trials"),
    element("ul", {}, groups.map(drawGroup)),
  );
}

function drawGroup(group) {
  return element(
    "li",
    {},
    verdictBadge(group.verdict),
    testName(group.test, { class: "test-name" }),
    element("span", { class: "score" }, scoreOf(group)),
    group.counted > 0 && drawInterval(group),
  );
}

function scoreOf({ passed, counted, selected, wanted, low, high, faults }) {
  if (!counted) return `none of ${count(selected, "trial")} counted`;
  const told = [
    `${formatNumber(passed)} of ${count(counted, "trial")} passed: ${percent(passed / counted)}`,
    `with 95% confidence ${percent(low)} to ${percent(high)}`,
    `${percent(wanted)} wanted`,
  ];
  if (faults) told.push(`${count(faults, "failed sandbox")} tried again`);
  return told.join(", ");
}

/** The pass rate, how sure it is, and what is wanted, on a line from 0 to 100%. */
function drawInterval({ passed, counted, wanted, low, high }) {
  const mark = (name, from, to = from) => {
    const node = element("i", { class: name });
    node.style.left = percent(from);
    node.style.width = to > from ? percent(to - from) : "";
    return node;
  };
  return element(
    "span",
    { class: "interval", "aria-hidden": "true" },
    mark("sure", low, high),
    mark("wanted", wanted),
    mark("rate", passed / counted),
  );
}
