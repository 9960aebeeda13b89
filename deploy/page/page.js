// The page: photos come by drop, paste, choice or camera, are asked one after the other, and stay until it is closed.

import { drawn, drawnNothing, spoken } from "./answer.js";
import { element, showCard, taken } from "./card.js";
import { bytes, showPhoto, stripItem, thumbnail, updateStripItem } from "./photos.js";
import { Refused, askAnswer, askCard, useToken } from "./server.js";

const MOST_AT_ONCE = 100;
const MOST_KEPT = 200;
const TRIES = 4;
const part = (id) => document.getElementById(id);
const touch = matchMedia("(pointer: coarse)").matches;
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

let card = null;
let current = null;
let asking = false;
let tokenWanted = false;
let lost = false;
const photos = [];

// --- the release -------------------------------------------------------------------------------------------------

async function loadCard() {
  let found;
  try {
    found = await askCard();
  } catch (refused) {
    if (refused.kind === "token") wantToken(refused);
    else notify(refused.title, refused.message, loadCard);
    lost = refused.kind !== "token";
    return;
  }
  tokenGiven();
  if (lost) notify("");
  lost = false;
  if (card && card.digest === found.digest && card.version === found.version) return;
  card = found;
  notify("");
  showCard(card);
  part("takes").textContent = taken(card, touch);
  part("files").accept = card.formats.map((format) => `image/${format.toLowerCase()}`).join(",");
  if (!current) part("answer").replaceChildren(...drawnNothing(card));
}

async function followVersion(answer) {
  if (!card || (answer.digest === card.digest && answer.version === card.version)) return;
  await loadCard();
  if (card) part("spoken").textContent = `Version ${card.version} answers from now on.`;
}

// --- photos ------------------------------------------------------------------------------------------------------

async function take(files) {
  const images = [...files].slice(0, MOST_AT_ONCE);
  if (!images.length) return;
  if (files.length > MOST_AT_ONCE) notify("Too many at once", `The first ${MOST_AT_ONCE} of ${files.length} files are asked.`);
  else if (card) notify("");
  const added = images.map((file) => ({ file, words: "Waiting for its turn …", answer: null, refused: null }));
  added.forEach((photo) => {
    photo.thumb = element("canvas", "thumb blank");
  });
  photos.push(...added);
  part("strip").prepend(...added.map((photo) => stripItem(photo, () => bringBack(photo))));
  forgetOldest();
  part("earlier").hidden = photos.length < 2;
  choose(added[0]);
  askWaiting();
  for (const photo of added) {
    const drawnThumb = await thumbnail(photo.file);
    photo.thumb.replaceWith(drawnThumb);
    photo.thumb = drawnThumb;
  }
}

function forgetOldest() {
  while (photos.length > MOST_KEPT) {
    const gone = photos.shift();
    gone.forgotten = true;
    gone.item.remove();
  }
}

function choose(photo) {
  current = photo;
  showPhoto(photo, card);
  part("call").textContent = "Another one?";
  part("drop").classList.add("small");
  photos.forEach(refresh);
}

function bringBack(photo) {
  choose(photo);
  if (part("stage").getBoundingClientRect().top < 0) part("stage").scrollIntoView({ block: "start" });
  if (photo.answer || photo.refused) part("spoken").textContent = spoken(photo);
}

function refresh(photo) {
  updateStripItem(photo, photo === current);
  if (photo === current) {
    part("answer").replaceChildren(...drawn(photo, card, () => askAgain(photo)));
    part("stage").setAttribute("aria-busy", String(!photo.answer && !photo.refused));
  }
}

function askAgain(photo) {
  Object.assign(photo, { refused: null, words: "Waiting for its turn …" });
  refresh(photo);
  askWaiting();
}

async function askWaiting() {
  if (asking) return;
  asking = true;
  let next;
  while (!tokenWanted && (next = photos.find((photo) => !photo.answer && !photo.refused))) {
    await askOne(next);
    refresh(next);
    if (!next.forgotten && (next.answer || next.refused)) part("spoken").textContent = spoken(next);
  }
  asking = false;
}

async function askOne(photo) {
  const tooLarge = card && photo.file.size > card.body_mb * 1e6;
  if (tooLarge || !photo.file.size) {
    const most = `It has ${bytes(photo.file.size)}; this server takes up to ${card?.body_mb} MB.`;
    photo.refused = tooLarge
      ? new Refused("file", "This file is too large", most)
      : new Refused("file", "This file is empty", "There is nothing in it.");
    return;
  }
  for (let tried = 1; ; tried += 1) {
    photo.words = "Asking …";
    refresh(photo);
    try {
      photo.answer = await askAnswer(photo.file);
      await followVersion(photo.answer);
      return;
    } catch (refused) {
      if (refused.kind === "token") return wantToken(refused);
      if (refused.kind !== "busy" || tried === TRIES) {
        photo.refused = refused instanceof Refused ? refused : new Refused("server", "The page failed", String(refused));
        return;
      }
      photo.words = `The server is busy; asking again in ${refused.waitSeconds} s …`;
      refresh(photo);
      await pause(refused.waitSeconds);
    }
  }
}

// --- words above the stage ---------------------------------------------------------------------------------------

function notify(title, message = "", again = null) {
  const notice = part("notice");
  notice.hidden = !title;
  notice.replaceChildren(element("h2", "", title), element("p", "", message));
  if (again) {
    const button = element("button", "", "Try again");
    button.type = "button";
    button.addEventListener("click", again);
    notice.append(button);
  }
}

function wantToken(refused) {
  if (!part("token-form").hidden) part("token-why").textContent = refused.message;
  tokenWanted = true;
  part("where").textContent = "It answers whoever has its token.";
  part("token-form").hidden = false;
  part("token").focus();
  photos.filter((photo) => !photo.answer && !photo.refused).forEach((photo) => {
    photo.words = "Waiting for the token …";
    refresh(photo);
  });
}

function tokenGiven() {
  tokenWanted = false;
  part("token-form").hidden = true;
  part("token").value = "";
}

part("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useToken(part("token").value.trim());
  await loadCard();
  if (!tokenWanted) askWaiting();
});

// --- how photos come ---------------------------------------------------------------------------------------------

const NO_FILE = "That was no file: save the picture first, then drop or choose it.";

part("choose").addEventListener("click", () => part("files").click());
part("camera").addEventListener("click", () => part("shot").click());
for (const id of ["files", "shot"]) {
  part(id).addEventListener("change", async ({ target }) => {
    const chosen = [...target.files];
    target.value = "";
    await take(chosen);
  });
}

document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files ?? [];
  if (files.length) {
    event.preventDefault();
    take(files);
  } else if (event.target !== part("token")) {
    notify("Nothing to ask about", "The clipboard holds no picture.");
  }
});

let depth = 0;
const veil = (shown) => {
  part("veil").hidden = !shown;
};
document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  veil(true);
});
document.addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) veil(false);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  veil(false);
  const folders = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folders) notify("That was a folder", "Open it and drop the photos in it.");
  else if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else notify("Nothing to ask about", NO_FILE);
});

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !tokenWanted && !asking) loadCard();
});

if (touch) part("call").textContent = "Show it a photo";
part("answer").replaceChildren(...drawnNothing(null));
loadCard();
