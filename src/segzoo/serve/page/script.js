// The page: a picture is sent once for each model and kind of edges; what the sliders do is done here.

const byId = (id) => document.getElementById(id);
const [form, stage, view, status] = ["form", "stage", "view", "status"].map(byId);
const [result, before, split] = ["result", "before", "split"].map(byId);
const limits = { bytes: +document.body.dataset.maxBytes, pixels: +document.body.dataset.maxPixels };
const PREVIEW = 1600; // pixels of the longer side that sliders work on; a download has them all
const FAINT = 24; // of 255: below it the colours of a cut-out are not to be trusted
const TRIES = 5; // of a server that is busy, or starts a worker
const STEPS = { queue: "in the queue", load: "model loaded", decode: "opened", wait: "waited", network: "network", finish: "edges and file", total: "on the server" };

let picture = null; // what a person gave: {file, name}
let seen = null; // what the server made of it: {name, original, cutout, second, isOneClass, width, height}
let asking = null; // the request under way
const secondOf = {}; // what to ask for, by the name of a model that has answered before
document.documentElement.classList.add("js");

// --- saying ---

function say(text, bad = false) {
  status.replaceChildren();
  if (!text) return;
  const line = document.createElement("span");
  line.textContent = text;
  line.classList.toggle("bad", bad);
  status.append(line);
}

function duration(seconds) {
  return seconds < 1 ? `${(1000 * seconds).toFixed(0)} ms` : `${seconds.toFixed(1)} s`;
}

function tellFacts(answer, seconds) {
  const rows = [["size", `${answer.size[1]} × ${answer.size[0]}`]];
  const all = answer.size[0] * answer.size[1];
  for (const [name, pixels] of Object.entries(answer.found)) {
    rows.push([name, `${((100 * pixels) / all).toFixed(1)} %`]);
  }
  for (const [step, words] of Object.entries(STEPS)) {
    if (answer.seconds[step] >= 0.0005) rows.push([words, duration(answer.seconds[step])]);
  }
  rows.push(["there and back", duration(seconds)]);
  byId("facts").replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      [dt.textContent, dd.textContent] = [name, value];
      return [dt, dd];
    }),
  );
}

// --- asking the server ---

async function accept(file, name = "") {
  if (!file) return;
  picture = { file, name: (name || file.name || "picture").replace(/\.[^.]*$/, "") };
  split.value = 0;
  await ask();
}

async function ask() {
  if (!picture) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  const { file: given, name } = picture;
  stage.classList.add("is-busy");
  try {
    const original = await opened(given);
    if (mine.signal.aborted) return;
    if (original && !seen) show(original, original.width, original.height);
    say("Looking…");
    const { file, note } = await fitting(given, original);
    const began = performance.now();
    const answer = await predicted(file, mine.signal);
    const seconds = (performance.now() - began) / 1000;
    const isOneClass = answer.num_classes === 1;
    secondOf[answer.model] = isOneClass ? "cutout,probability" : "cutout,color";
    const shown = isOneClass ? answer.pictures.probability : answer.pictures.color;
    const [cutout, second] = await Promise.all([answer.pictures.cutout, shown].map(bitmapOf));
    if (mine.signal.aborted) return;
    seen = { name, original, cutout, second, isOneClass, width: cutout.width, height: cutout.height };
    seen.small = layersAt(PREVIEW);
    seen.file = answer.pictures.cutout;
    draw();
    tellFacts(answer, seconds);
    say(note || answer.notes.join("; "));
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  } finally {
    if (asking === mine) stage.classList.remove("is-busy");
  }
}

async function predicted(file, signal) {
  const body = new FormData();
  body.append("file", file, "picture");
  body.append("model", byId("model").value);
  body.append("edges", byId("edges").value);
  body.append("output", secondOf[byId("model").value] ?? "cutout,probability,color");
  let response;
  for (let left = TRIES; left > 0; left--) {
    try {
      response = await fetch("predict", { method: "POST", body, signal, headers: { Accept: "application/json" } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is it still running?");
    }
    if (response.status !== 503 || left === 1) break;
    say("The server is busy. Asking again…");
    const seconds = +response.headers.get("Retry-After") || 2;
    await new Promise((done) => setTimeout(done, 1000 * seconds));
  }
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said.detail || `The server said ${response.status}.`);
  return said;
}

// A browser may not be able to open what the server can, HEIC say: then there is no "before".
async function opened(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

// The file as the server takes it: smaller, where it is too large.
async function fitting(file, original) {
  if (!original) return { file, note: "" };
  const pixels = original.width * original.height;
  if (file.size <= limits.bytes && pixels <= limits.pixels) return { file, note: "" };
  const scale = Math.min(1, Math.sqrt(limits.pixels / pixels), Math.sqrt(16e6 / pixels));
  const canvas = new OffscreenCanvas(Math.floor(original.width * scale), Math.floor(original.height * scale));
  canvas.getContext("2d").drawImage(original, 0, 0, canvas.width, canvas.height);
  const smaller = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  return { file: smaller, note: `Sent at ${canvas.width} × ${canvas.height}: this server takes no more` };
}

async function bitmapOf({ type, base64 }) {
  return createImageBitmap(blobOf({ type, base64 }));
}

function blobOf({ type, base64 }) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type });
}

// --- what the sliders do ---

// The layers' pixels, with a longer side of at most `most`.
function layersAt(most) {
  const scale = Math.min(1, most / Math.max(seen.width, seen.height));
  const [width, height] = [seen.width, seen.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = (bitmap) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
  const cutout = pixels(seen.cutout);
  return { width, height, cutout, original: seen.original ? pixels(seen.original) : cutout, second: pixels(seen.second) };
}

function settings() {
  const colour = form.querySelector("[data-colour]:checked").dataset.colour;
  return {
    mask: form.querySelector("[data-view=mask]").checked,
    behind: colour === "own" ? byId("colour").value : colour,
    threshold: +byId("threshold").value,
    softness: +byId("softness").value / 100,
  };
}

function isUntouched({ mask, behind, threshold, softness }) {
  return !mask && !behind && threshold === 0.5 && softness === 1;
}

// How opaque each of 256 levels becomes: a ramp around the threshold, as wide as the edge is soft.
function ramp({ threshold, softness }) {
  const width = Math.max(softness, 1 / 255);
  return Uint8ClampedArray.from({ length: 256 }, (_, level) => 255 * ((level / 255 - threshold) / width + 0.5));
}

function composed(layers, wish) {
  const image = new ImageData(layers.width, layers.height);
  const [to, { cutout, original, second }] = [image.data, layers];
  if (wish.mask && !seen.isOneClass) {
    to.set(second);
    return image;
  }
  const levels = ramp(wish);
  for (let i = 0; i < to.length; i += 4) {
    if (wish.mask) {
      to[i] = to[i + 1] = to[i + 2] = second[i] / 255 > wish.threshold ? 255 : 0;
      to[i + 3] = 255;
      continue;
    }
    const from = cutout[i + 3] < FAINT ? original : cutout;
    to[i] = from[i];
    to[i + 1] = from[i + 1];
    to[i + 2] = from[i + 2];
    to[i + 3] = levels[cutout[i + 3]];
  }
  return image;
}

// --- showing ---

function show(bitmap, width, height) {
  stage.classList.add("has-picture");
  view.hidden = false;
  for (const canvas of [result, before]) [canvas.width, canvas.height] = [width, height];
  view.style.setProperty("--twice", `${2 * width}px`);
  view.style.setProperty("--ratio", width / height);
  if (bitmap) before.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  place();
}

function draw() {
  if (!seen) return;
  const { width, height } = seen.small;
  if (result.width !== width || result.height !== height || !view.offsetParent) show(seen.original, width, height);
  const wish = settings();
  result.getContext("2d").putImageData(composed(seen.small, wish), 0, 0);
  if (seen.original) before.getContext("2d").drawImage(seen.original, 0, 0, width, height);
  split.hidden = !seen.original;
  view.style.setProperty("--behind", wish.behind || "");
  if (!wish.behind) view.style.removeProperty("--behind");
  byId("threshold-value").textContent = wish.threshold.toFixed(2);
  byId("softness-value").textContent = `${Math.round(100 * wish.softness)} %`;
  // What changes nothing of a mask cannot be moved while one is shown.
  byId("behind").disabled = byId("softness").disabled = wish.mask;
  byId("threshold").disabled = wish.mask && !seen.isOneClass;
  byId("download").setAttribute("aria-disabled", "false");
  byId("download").href = "#";
  byId("another").hidden = false;
  place();
}

// The slider lies over the picture, wherever the page has put that.
function place() {
  const [left, top, width, height] = [result.offsetLeft, result.offsetTop, result.offsetWidth, result.offsetHeight];
  const share = split.value / 100;
  Object.assign(split.style, { left: `${left - 17}px`, top: `${top}px`, width: `${width + 34}px`, height: `${height}px` });
  Object.assign(byIdClass("divider").style, { left: `${left + share * width - 1}px`, top: `${top}px`, height: `${height}px` });
  byIdClass("divider").hidden = share === 0 || split.hidden;
  view.style.setProperty("--split", `${split.value}%`);
}

function byIdClass(name) {
  return view.querySelector(`.${name}`);
}

async function download(event) {
  event.preventDefault();
  if (!seen) return;
  const wish = settings();
  let blob;
  if (isUntouched(wish)) {
    blob = blobOf(seen.file); // to the bit what the server made
  } else {
    const layers = layersAt(Infinity);
    const [canvas, top] = [0, 1].map(() => new OffscreenCanvas(layers.width, layers.height));
    const context = canvas.getContext("2d");
    if (wish.behind && !wish.mask) {
      context.fillStyle = wish.behind;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    top.getContext("2d").putImageData(composed(layers, wish), 0, 0);
    context.drawImage(top, 0, 0);
    blob = await canvas.convertToBlob({ type: "image/png" });
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${seen.name}-${wish.mask ? "mask" : "cutout"}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- what a person does ---

// Radio buttons without a name in the form would be in no group; their names are not sent.
form.querySelectorAll("[data-view]").forEach((input) => (input.name = "shown"));
form.querySelectorAll("[data-colour]").forEach((input) => (input.name = "behind"));
form.addEventListener("submit", (event) => event.preventDefault());
byId("file").addEventListener("change", ({ target }) => {
  accept(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
byId("another").addEventListener("click", () => byId("file").click());
byId("download").addEventListener("click", download);
for (const id of ["model", "edges"]) byId(id).addEventListener("change", ask);
for (const id of ["threshold", "softness"]) byId(id).addEventListener("input", () => requestAnimationFrame(draw));
form.querySelectorAll("[data-view], [data-colour]").forEach((input) => input.addEventListener("change", draw));
for (const event of ["click", "input"]) {
  byId("colour").addEventListener(event, () => {
    form.querySelector("[data-colour=own]").checked = true;
    draw();
  });
}
split.addEventListener("input", place);
addEventListener("resize", place);
document.querySelectorAll("[data-sample]").forEach((button) =>
  button.addEventListener("click", async () => {
    const response = await fetch(button.dataset.sample);
    await accept(await response.blob(), button.dataset.sample);
  }),
);
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) accept(file, "pasted");
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("dragged");
});
addEventListener("dragleave", (event) => event.relatedTarget || stage.classList.remove("dragged"));
addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("dragged");
  accept(event.dataTransfer.files[0]);
});
