// Talks with the server. Every failure becomes an ApiError whose message says what happened and what to do.
import { noteServerDate } from "./time.js";

const BASE = "/api/v1";
const PATIENCE = 20000; // ms: then the server counts as not answering

let csrf = "";
let asking = new AbortController();

/** What went wrong, in words for the page. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 = no answer at all @param {any} [body] */
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** Tells of a session: "leaving" before its user ends it, "signedout" when it has ended. */
export const session = new EventTarget();

/** @param {string} token what unsafe requests carry */
export function setCsrf(token) {
  csrf = token;
}

/** Takes back what is on its way: once the session has ended, the server would refuse it. */
export function abandon() {
  asking.abort();
  asking = new AbortController();
}

/** A path below the API, with its parts made safe: url`cameras/${id}/zones`. */
export function url(parts, ...values) {
  const path = parts.reduce((left, right, index) => left + encodeURIComponent(String(values[index - 1])) + right);
  return `${BASE}/${path}`;
}

/** @param {string} path as `url` makes it @param {Record<string, any>} [query] @param {AbortSignal} [signal] */
export function get(path, query = {}, signal) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const words = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return send("GET", words ? `${path}?${words}` : path, undefined, signal);
}

/** @param {string} path @param {any} [body] */
export const post = (path, body = {}) => send("POST", path, body);

/** @param {string} path @param {any} body */
export const put = (path, body) => send("PUT", path, body);

/** @param {string} path */
export const remove = (path) => send("DELETE", path, undefined);

async function send(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Spade-CSRF"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const ends = [asking.signal, AbortSignal.timeout(PATIENCE), ...(signal ? [signal] : [])];
  const request = {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
  };
  const response = await answer(path, { ...request, signal: AbortSignal.any(ends) });
  noteServerDate(response.headers.get("date"));
  const content = await parsed(response);
  if (response.ok) return content;
  if (response.status === 401)
    session.dispatchEvent(new CustomEvent("signedout", { detail: { auth: response.headers.get("x-spade-login") } }));
  throw new ApiError(inWords(response.status, content), response.status, content);
}

async function answer(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error; // the page was left
    const late = error.name === "TimeoutError";
    throw new ApiError(
      late
        ? "The console does not answer. Try again; if it stays so, look at spade-stream's log."
        : "No connection to the console. Is spade-stream still running there, and is the network up?",
      0,
    );
  }
}

async function parsed(response) {
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error; // the page was left while the answer came
    if (!response.ok) return null; // the status says enough
    throw new ApiError("The answer of the console broke off. Try again.", 0);
  }
}

/** FastAPI gives `detail` as a text, or as a list of what is wrong with the fields. */
function inWords(status, content) {
  const detail = content?.detail;
  if (typeof detail === "string" && detail) return detail;
  if (Array.isArray(detail))
    return detail.map((each) => `${(each.loc ?? []).slice(1).join(".")}: ${each.msg}`).join("; ");
  if (status === 401) return "You are not signed in.";
  if (status === 403) return "This is not allowed. Reload the page and sign in again.";
  if (status === 404) return "There is no such thing here (any more).";
  if (status === 409) return "Somebody else changed this meanwhile. Reload and do it again.";
  return `The console answered with error ${status}. Its log says more.`;
}
