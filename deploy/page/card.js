// What answers here: name, version, figures and the model card. All of it is set as text, never as markup.

import { hasToken } from "./server.js";

const HEADINGS = ["h3", "h3", "h4", "h5", "h6", "h6"];
const MOST_LABELS = 2000;
const KEPT = {
  scores: "answer and fingerprint (sha256), not the picture,",
  embeddings: "answer, fingerprint (sha256) and what the model computed, not the picture,",
  inputs: "photo and answer",
};

/** An element with a class and a text. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

const part = (id) => document.getElementById(id);
export const classes = (card) => (card.labels.length === 1 ? "1 class" : `${count(card.labels.length)} classes`);

export function showCard(card) {
  document.title = `${card.name} · Graft`;
  part("name").textContent = card.name;
  part("where").replaceChildren(...release(card), ` · ${classes(card)} · served by Graft`);
  part("says").replaceChildren(...release(card), `, judged on ${count(card.test_items)} photos that it had never seen.`);
  part("figures").replaceChildren(
    figure("Accuracy", ratio(card.accuracy.value), between(card.accuracy)),
    figure("Macro-F1", ratio(card.macro_f1.value), between(card.macro_f1)),
    figure("Test photos", count(card.test_items), ""),
    figure("Classes", count(card.labels.length), ""),
  );
  part("facts").replaceChildren(...facts(card));
  part("labels").replaceChildren(...card.labels.slice(0, MOST_LABELS).map(labelItem));
  part("card").replaceChildren(...card.blocks.map(block));
  part("curl").textContent = curl(card);
  part("privacy").textContent = privacy(card);
  part("release").hidden = false;
}

/** A release's version and the start of its digest; a folder that is served has no version but that. */
export function release({ version, digest }) {
  const short = element("code", "", digest.slice(0, 12));
  return digest.startsWith(version) ? ["release ", short] : [`version ${version} (`, short, ")"];
}

/** What the server takes, for below the buttons. */
export function taken(card, touch) {
  const kinds = `${card.formats.join(", ")}, up to ${card.body_mb}\u00a0MB.`;
  const all = touch ? kinds : `or paste one. ${kinds}`;
  return card.captured?.content === "inputs" ? `${all} ${kept(card.captured)}` : all;
}

function facts(card) {
  const middle = `${card.crop} × ${card.crop}`;
  const seen = `The shorter side becomes ${card.resize} pixels, and the model sees the middle ${middle} of it.`;
  const rows = [
    ["What it sees", seen],
    ["When it answers", card.abstain_below > 0
      ? `From ${(100 * card.abstain_below).toFixed(0)}% for the likeliest class; below that it says that it is unsure.`
      : "Always: it has no lower bound and knows nothing beside its classes."],
    ["Digest", element("code", "", card.digest)],
  ];
  return rows.flatMap(([name, value]) => {
    const said = element("dd");
    said.append(value);
    return [element("dt", "", name), said];
  });
}

function privacy(card) {
  const sent = "A photo goes to this server as it is, and nowhere else.";
  return `${sent} ${card.captured ? kept(card.captured) : "It keeps none."} Made by Graft.`;
}

function kept({ share, content, keep_days: days }) {
  const what = KEPT[content];
  const which = share >= 1 ? "of every photo" : `of ${(100 * share).toPrecision(2).replace(/\.0$/, "")}% of the photos`;
  return `It keeps ${what} ${which} for ${days} ${days === 1 ? "day" : "days"}, to watch over its quality.`;
}

function curl(card) {
  const address = (path) => new URL(path, document.baseURI).href;
  const allowed = hasToken() ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const asked = `curl --data-binary @photo.jpg -H "Content-Type: image/jpeg"${allowed} "${address("predict")}"`;
  const model = address(`v2/models/${encodeURIComponent(card.name)}`);
  return `${asked}\n\n# under the Open Inference Protocol this model is\n${model}`;
}

const count = (number) => number.toLocaleString("en-GB");
const ratio = (value) => value.toFixed(3);
const between = ({ low, high }) => `${ratio(low)} to ${ratio(high)}`;

function figure(name, value, more) {
  const box = element("div");
  const said = element("dd");
  said.append(element("span", "value", value), element("br"), element("span", "quiet small", more));
  box.append(element("dt", "", name), said);
  return box;
}

function labelItem(label) {
  const item = element("li");
  item.append(element("bdi", "", label));
  return item;
}

function spans(into, found) {
  for (const [[kind, text]] of found.map(Object.entries)) {
    into.append(kind === "text" ? text : element(kind === "code" ? "code" : "strong", "", text));
  }
  return into;
}

function block(one) {
  if (one.kind === "heading") return spans(element(HEADINGS[one.level - 1]), one.spans);
  if (one.kind === "paragraph") return spans(element("p"), one.spans);
  if (one.kind === "list") {
    const list = element("ul");
    list.append(...one.items.map((item) => spans(element("li"), item)));
    return list;
  }
  return table(one);
}

function table({ header, rows }) {
  const made = element("table");
  if (header.length) {
    const line = made.createTHead().insertRow();
    header.forEach((cell) => {
      const head = spans(element("th"), cell);
      head.scope = "col";
      line.append(head);
    });
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((cell, place) => line.append(spans(element(place ? "td" : "th"), cell)));
    if (line.firstChild) line.firstChild.scope = "row";
  }
  const scroll = element("div", "scroll");
  scroll.append(made);
  return scroll;
}
