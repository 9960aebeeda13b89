// The right half of the stage: an answer with its bars, a refusal with its words, or what is awaited.

import { classes, element, release } from "./card.js";

const PLACES = 1;
const MOST_NAMED = 8;

/** A probability as a person reads it: never 0 or 100 where it is not. */
export function percent(probability) {
  const text = (100 * probability).toFixed(PLACES);
  if (probability > 0 && Number(text) === 0) return "<0.1%";
  if (probability < 1 && Number(text) === 100) return ">99.9%";
  return `${text}%`;
}

/** One sentence for a screen reader. */
export function spoken(photo) {
  if (photo.refused) return `${photo.file.name}: ${photo.refused.title}. ${photo.refused.message}`;
  const { predictions, abstained } = photo.answer;
  const best = `${predictions[0].label}, ${percent(predictions[0].probability)}`;
  return `${photo.file.name}: ${abstained ? `no answer, it is too unsure; likeliest is ${best}` : best}.`;
}

/** What stands beside a photo; `again` is called by the button of a refusal. */
export function drawn(photo, card, again) {
  if (photo.answer) return drawnAnswer(photo.answer, card);
  if (photo.refused) return drawnRefusal(photo.refused, again);
  return [element("p", "waiting", photo.words), bones()];
}

/** Before the first photo. */
export function drawnNothing(card) {
  const parts = [element("p", "waiting", "The answer will stand here.")];
  if (card) {
    const few = card.labels.slice(0, MOST_NAMED);
    const all = few.length === card.labels.length;
    const line = element("p", "quiet", `It knows ${classes(card)}${all ? ":" : ", such as"} `);
    few.forEach((label, place) => line.append(place ? ", " : "", element("bdi", "", label)));
    line.append(".");
    parts.push(line);
  }
  return [...parts, bones()];
}

function drawnAnswer(answer, card) {
  const [best] = answer.predictions;
  const parts = [];
  if (answer.abstained) {
    parts.push(element("p", "state warn", "No answer"), element("h2", "unsure", "Too unsure to say"));
    const why = element("p", "", "The likeliest, ");
    why.append(element("bdi", "strong", best.label), `, has ${percent(best.probability)}`);
    why.append(card ? `; below ${percent(card.abstain_below)} this server gives no answer.` : ".");
    parts.push(why, element("h3", "", "What it would guess"));
  } else {
    const heading = element("h2", "best");
    heading.append(element("bdi", "", best.label), " ", element("span", "figure", percent(best.probability)));
    parts.push(heading);
  }
  parts.push(bars(answer, card), by(answer));
  return parts;
}

function bars(answer, card) {
  const list = element("ol", answer.abstained ? "bars unsure" : "bars");
  for (const { label, probability } of answer.predictions) {
    const fill = element("span", "fill");
    fill.style.width = `${100 * probability}%`;
    const track = element("span", "track");
    track.append(fill);
    track.setAttribute("aria-hidden", "true");
    const item = element("li");
    item.append(element("bdi", "label", label), element("span", "value", percent(probability)), track);
    list.append(item);
  }
  const known = card && card.digest === answer.digest ? card.labels.length : answer.predictions.length;
  const others = known - answer.predictions.length;
  if (others > 0) {
    const rest = Math.max(0, 1 - answer.predictions.reduce((sum, one) => sum + one.probability, 0));
    const noun = others === 1 ? "1 other class" : `${others} other classes together`;
    list.append(element("li", "rest quiet small", `${noun}: ${percent(rest)}`));
  }
  return list;
}

function by(answer) {
  const line = element("p", "by quiet small");
  line.append(
    element("bdi", "", answer.model), ", ", ...release(answer), ` · ${answer.milliseconds}\u00a0ms there and back`,
  );
  return line;
}

function drawnRefusal(refused, again) {
  const parts = [element("p", "state bad", "No answer"), element("h2", "bad", refused.title), element("p", "", refused.message)];
  if (refused.again && refused.kind !== "token") {
    const button = element("button", "main", "Try again");
    button.type = "button";
    button.addEventListener("click", again);
    parts.push(button);
  }
  if (refused.requestId) {
    const line = element("p", "quiet small by", "Request ");
    line.append(element("code", "", refused.requestId));
    parts.push(line);
  }
  return parts;
}

function bones() {
  const list = element("div", "bones");
  list.setAttribute("aria-hidden", "true");
  for (let place = 0; place < 3; place += 1) list.append(element("span"));
  return list;
}
