// What is to be looked at: pictures of the agent's browser, and videos of the desktop.

/** All pictures of a step; each opens in its full size. */
function pictureBoxes(names, pictures) {
  const known = names.map((name) => pictures.get(name)).filter(Boolean);
  if (!known.length) return null;
  return element("div", { class: "pictures" }, known.map(pictureBox));
}

function pictureBox(picture) {
  const box = element("figure", { class: "picture" });
  if (isPictureData(picture.data)) box.append(thumbnail(picture));
  box.append(element("figcaption", {}, pictureFacts(picture)));
  return box;
}

/** Only what was written into the page is drawn; the rest are files, and opened as such. */
const isPictureData = (data) => /^data:image\/(png|jpeg|gif|webp);base64,[\w+/=]+$/.test(data);

function pictureFacts({ name, width, height, size }) {
  const sides = width && height ? `${width} × ${height} · ` : "";
  return element(
    "div",
    { class: "picture-facts" },
    fileLink(name, outside(name)),
    element("span", { class: "muted" }, sides + formatSize(size)),
  );
}

function thumbnail(picture) {
  const button = element(
    "button",
    { type: "button", "aria-label": `Show ${picture.name} in full size` },
    pictureImage(picture, () => {
      button.replaceWith(element("p", { class: "note" }, "This picture cannot be drawn."));
    }),
  );
  button.addEventListener("click", () => showInFull(picture));
  return button;
}

/** Its size is known before it is drawn, so that nothing around it moves. */
function pictureImage({ name, data, width, height }, error = null) {
  const attributes = { alt: `Screenshot ${name}`, width, height, loading: "lazy", error };
  return element("img", { ...attributes, decoding: "async", src: data });
}

const pictureDialog = element("dialog", {
  class: "full-picture",
  click: (event) => {
    if (event.target === pictureDialog) pictureDialog.close(); // the ground beside the picture
  },
  close: () => {
    // It comes a moment after the end, when the next picture may be there already.
    if (!pictureDialog.open) pictureDialog.replaceChildren();
  },
});

function showInFull(picture) {
  const close = { type: "button", class: "small", click: () => pictureDialog.close() };
  const head = element("div", { class: "full-picture-head" });
  head.append(pictureFacts(picture), element("button", close, "Close"));
  const scrolled = element("div", { class: "full-picture-body", tabindex: "0" });
  scrolled.append(pictureImage(picture));
  pictureDialog.setAttribute("aria-label", `Screenshot ${picture.name}`);
  pictureDialog.replaceChildren(head, scrolled);
  if (!pictureDialog.open) pictureDialog.showModal();
}

/** In a closed step: that there is something to see in it. */
function pictureSign(names) {
  if (!names.length) return null;
  const words = count(names.length, "picture");
  return element("span", { class: "picture-sign", role: "img", title: words, "aria-label": words });
}

function videos(story) {
  if (!story.videos.length) return null;
  return section(
    "video",
    "Video of the desktop",
    element("div", { class: "videos" }, story.videos.map(videoBox)),
  );
}

/** A video is a file beside the page; where the page is alone, only its name is left. */
function videoBox(video) {
  const address = addressOf(video.name);
  const caption = element("figcaption", {}, pictureFacts(video));
  if (address === null) return element("figure", { class: "video" }, caption);
  const error = () => {
    const words = "The video is not beside this page, or this browser cannot play it.";
    player.replaceWith(element("p", { class: "note" }, words));
  };
  const attributes = { controls: true, preload: "metadata", src: address, error };
  const player = element("video", { ...attributes, "aria-label": `Video of the desktop, ${video.name}` });
  return element("figure", { class: "video" }, player, caption);
}
