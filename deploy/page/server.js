// What the page asks the server, and how its refusals read. No markup is made of any text that comes from it.

const KEY = "graft.token";
const LONGEST_WAIT_MS = 120_000;

let token = "";
try {
  token = sessionStorage.getItem(KEY) ?? "";
} catch {
  // storage may be forbidden: the token then lives as long as the page
}

export const hasToken = () => token !== "";

export function useToken(value) {
  token = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // as above
  }
}

/** A reply that is no answer; `kind` is token, busy, file, server or connection, `again` whether trying may help. */
export class Refused extends Error {
  constructor(kind, title, message, { again = false, waitSeconds = 1, requestId = "" } = {}) {
    super(message);
    Object.assign(this, { kind, title, again, waitSeconds, requestId });
  }
}

export async function askCard() {
  return (await ask("card", {})).json();
}

/** The answer to a file's own bytes, with the milliseconds from sending to answer. */
export async function askAnswer(file) {
  const began = performance.now();
  const headers = { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
  const reply = await ask("predict", { method: "POST", body: file, headers });
  const answer = await reply.json();
  return { ...answer, milliseconds: Math.max(1, Math.round(performance.now() - began)) };
}

async function ask(path, options) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let reply;
  try {
    reply = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(LONGEST_WAIT_MS) });
  } catch (error) {
    throw connectionLost(error);
  }
  if (!reply.ok) {
    throw await refusal(reply);
  }
  return reply;
}

function connectionLost(error) {
  const late = error.name === "TimeoutError";
  const message = late
    ? `It has not answered within ${LONGEST_WAIT_MS / 1000} seconds.`
    : "It has stopped, or the connection to it was cut.";
  return new Refused("connection", "The server cannot be reached", message, { again: true });
}

async function refusal(reply) {
  const { message, request_id: requestId } = await errorOf(reply);
  const status = reply.status;
  const more = { requestId };
  if (status === 401 || status === 403) {
    return new Refused("token", "The server wants a token", message, { ...more, again: true });
  }
  if (status === 503 || status === 429) {
    const waitSeconds = Math.min(60, Math.max(1, Number(reply.headers.get("Retry-After")) || 1));
    return new Refused("busy", "The server is busy", message, { ...more, again: true, waitSeconds });
  }
  if (status >= 500) {
    return new Refused("server", "The server failed", message, { ...more, again: true });
  }
  return new Refused("file", TITLES[status] ?? "The server did not take this file", message, more);
}

const TITLES = {
  413: "This file is too large",
  415: "This kind of file is not taken",
  422: "This photo cannot be read",
};

async function errorOf(reply) {
  try {
    const { error } = await reply.json();
    return { message: sentence(String(error.message ?? error)), request_id: String(error.request_id ?? "") };
  } catch {
    return { message: `It replied ${reply.status} ${reply.statusText}.`, request_id: "" };
  }
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
