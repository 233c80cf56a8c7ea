// Puts a test's page together, and leads to its parts: by links, and by keys.

function drawTest(page, story) {
  const several = new Set(story.steps.filter(isOfConversation).map((step) => step.conversation));
  let filters = null;
  const settings = {
    showConversation: several.size > 1,
    pictures: new Map(story.pictures.map((picture) => [picture.name, picture])),
    patternNow: () => filters.pattern,
  };
  const views = story.steps.map((step, at) => new StepView(step, at + 1, settings));
  filters = new Filters(views);
  const parts = {
    views,
    filters,
    changes: story.changes.map((change, at) => new ChangeView(change, at + 1)),
    log: new LogView(story),
  };
  const sections = [
    failures(story),
    videos(story),
    timeline(story, goTo),
    views.length > 0 && stepSection(views, filters),
    changes(story, parts.changes),
    story.log.length > 0 && parts.log.section(),
    environment(story),
    files(story),
  ].filter(Boolean);
  page.replaceChildren(
    navigation(story, sections.map((drawn) => navigationEntry(drawn, story))),
    pageHeader(story),
    element("main", {}, sections),
    footer(story),
    helpDialog,
    pictureDialog,
  );
  showMore(page.querySelector(".page-nav"));
  for (const view of openAtFirst(views)) view.toggle(true);
  filters.apply();
  listen(parts);
  followScrolling(sections);
  reveal(parts, location.hash.slice(1));
  // The browser follows the address itself once the page is loaded, and takes the focus away.
  if (location.hash) addEventListener("load", () => reveal(parts, location.hash.slice(1)));
}

function isOfConversation(step) {
  return step.kind !== "log" && step.conversation !== "";
}

function stepSection(views, filters) {
  const list = element("ol", { class: "steps" }, views.map((view) => view.row));
  const head = element("div", { class: "section-head" }, element("h2", {}, "Steps"));
  const attributes = { id: "steps", class: "panel" };
  return element("section", attributes, head, filters.draw(), list, filters.empty);
}

function navigationEntry(drawn, story) {
  const counts = {
    steps: story.steps.length,
    changes: story.changes_note ? undefined : story.changes.length,
    log: story.log.length,
  };
  const labels = {
    failure: "Failure",
    video: "Video",
    timeline: "Timeline",
    steps: "Steps",
    changes: "Changes",
    log: "Log",
    environment: "Environment",
    files: "Files",
  };
  return [drawn.id, labels[drawn.id], counts[drawn.id]];
}

/** Marks in the navigation which section is being read. */
function followScrolling(sections) {
  const links = new Map(
    sections.map(({ id }) => [id, document.querySelector(`.page-nav a[href="#${id}"]`)]),
  );
  const follow = (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) links.get(target.id).setAttribute("aria-current", "location");
      else links.get(target.id).removeAttribute("aria-current");
    }
  };
  // A thin line near the top of the window: one section at a time is on it.
  const observer = new IntersectionObserver(follow, { rootMargin: "-120px 0px -85% 0px" });
  for (const section of sections) observer.observe(section);
}

function listen(parts) {
  addEventListener("hashchange", () => reveal(parts, location.hash.slice(1)));
  // A link to where one is already changes no hash, yet means to go there.
  document.addEventListener("click", (event) => {
    const href = event.target.closest?.('a[href^="#"]')?.getAttribute("href");
    if (href && href === location.hash) reveal(parts, href.slice(1));
  });
  document.addEventListener("keydown", (event) => onKey(parts, event));
}

/**
 * Goes to a part of the page as a link does, so that Back comes back. Unlike a link it is there at
 * once: a link's own event comes later, and would take the focus from what was asked for since.
 */
function goTo(id) {
  history.pushState(null, "", new URL(`#${id}`, location.href));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Shows what an address leads to: opened, not filtered out, scrolled to, and lit up. */
function reveal(parts, id) {
  const match = /^(step|change|log)-(\d+)$/.exec(id);
  if (match === null) {
    document.getElementById(id)?.scrollIntoView();
    return;
  }
  const [, kind, digits] = match;
  const number = Number(digits);
  if (kind === "log") parts.log.reveal(number);
  const view = { step: parts.views, change: parts.changes }[kind]?.[number - 1];
  if (view) {
    view.row.hidden = false;
    view.toggle(true);
  }
  const target = document.getElementById(id);
  if (target === null) return;
  target.scrollIntoView({ block: "start" });
  // Once more, when the rows around it have got their real heights.
  requestAnimationFrame(() => target.scrollIntoView({ block: "start" }));
  view?.head.focus({ preventScroll: true });
  lightUp(target);
}

function lightUp(target) {
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  void target.offsetWidth; // starts the animation anew
  target.classList.add("lit");
}

const isTyping = (target) => /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);

function onKey({ views, filters }, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (helpDialog.open || pictureDialog.open) return;
  const isOnStep = event.target.classList?.contains("step-head");
  const actions = {
    j: () => moveFocus(views, 1),
    k: () => moveFocus(views, -1),
    e: () => nextError(views),
    "/": () => filters.search.focus(),
    "?": openHelp,
    Escape: () => {
      filters.search.value = "";
      filters.apply();
    },
    ...(isOnStep && { ArrowDown: () => moveFocus(views, 1), ArrowUp: () => moveFocus(views, -1) }),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function nextError(views) {
  const now = document.activeElement?.closest(".step");
  const at = views.findIndex((view) => view.row === now);
  const errors = views.filter((view) => isOfKind(view.step, "error"));
  const next = errors.find((view) => view.number > at + 1) ?? errors[0];
  if (next) goTo(next.id);
}

drawPage(drawTest);
