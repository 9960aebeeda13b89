// The left half of the stage and the strip below it: previews of files that never leave this page but as themselves.

import { element } from "./card.js";
import { percent } from "./answer.js";

const THUMB_PIXELS = 176;
const part = (id) => document.getElementById(id);
let shownUrl = "";

/** Put a photo on the stage, with the square that the model sees. */
export function showPhoto(photo, card) {
  const image = part("preview");
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(photo.file);
  part("photo").hidden = false;
  part("file").textContent = photo.file.name;
  part("size").textContent = bytes(photo.file.size);
  part("seen").hidden = true;
  part("gone").hidden = true;
  image.hidden = false;
  image.alt = `Preview of ${photo.file.name}`;
  image.onload = () => {
    const seen = markSeen(image, card) ? ". The model sees the square." : "";
    part("size").textContent = `${image.naturalWidth} × ${image.naturalHeight}, ${bytes(photo.file.size)}${seen}`;
  };
  image.onerror = () => {
    image.hidden = true;
    part("gone").hidden = false;
    part("gone").textContent = "No preview: this browser cannot show the file.";
  };
  image.src = shownUrl;
}

/** The centre crop over the preview; of photos more than 16 times as long as wide it is left out. */
function markSeen(image, card) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const short = Math.min(width, height);
  if (!card || !short || Math.max(width, height) > 16 * short) return false;
  const side = Math.min(1, card.crop / card.resize) * short;
  const seen = part("seen");
  seen.style.width = `${(100 * side) / width}%`;
  seen.style.height = `${(100 * side) / height}%`;
  seen.hidden = false;
  return true;
}

/** A small picture of a file, drawn once: a hundred large photos are not kept decoded. */
export async function thumbnail(file) {
  const canvas = element("canvas", "thumb");
  canvas.setAttribute("aria-hidden", "true");
  canvas.width = canvas.height = THUMB_PIXELS;
  try {
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width, bitmap.height);
    const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, side, side, 0, 0, THUMB_PIXELS, THUMB_PIXELS);
    bitmap.close();
  } catch {
    canvas.classList.add("blank");
  }
  return canvas;
}

/** A photo's place in the strip: a button that brings it back to the stage. */
export function stripItem(photo, chosen) {
  const button = element("button");
  button.type = "button";
  button.addEventListener("click", chosen);
  photo.words_below = element("span", "below");
  photo.figure_below = element("span", "value");
  button.append(photo.thumb, photo.words_below, photo.figure_below);
  const item = element("li");
  item.append(button);
  photo.item = item;
  return item;
}

export function updateStripItem(photo, current) {
  const { answer, refused } = photo;
  const best = answer?.predictions[0];
  const word = refused ? "no answer" : answer?.abstained ? "unsure" : best ? best.label : "…";
  photo.words_below.replaceChildren(element("bdi", "", word));
  photo.figure_below.textContent = best ? percent(best.probability) : "";
  const button = photo.item.firstChild;
  button.className = refused ? "failed" : "";
  button.title = photo.file.name;
  button.setAttribute("aria-label", `${photo.file.name}: ${photo.words_below.textContent} ${photo.figure_below.textContent}`);
  button.setAttribute("aria-current", current ? "true" : "false");
}

export function bytes(size) {
  if (size < 1000) return `${size} bytes`;
  return size < 1e6 ? `${Math.round(size / 1000)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}
