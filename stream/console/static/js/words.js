// Words and small marks that several pages share.
import { h } from "./dom.js";

const STATES = {
  CONNECTING: "Connecting",
  LIVE: "Watching",
  STALLED: "No frames arrive",
  OFFLINE: "Offline",
  AUTH_FAILED: "Login refused by the camera",
  CORRUPT: "The stream cannot be decoded",
  FROZEN: "Picture is frozen",
  OBSCURED: "Lens covered or dark",
  MOVED: "Camera was moved",
  NOT_SCORED: "Not scored",
  NO_READER: "Its reader does not answer",
  ENDED: "Recording has ended",
};

const REVIEWS = { open: "Not reviewed", real: "Real", false: "False alarm", normal: "Normal" };

const CHANNELS = {
  appearance: "Looks unlike anything normal here",
  motion: "Moves unlike anything normal here",
  persistence: "Stays where normally nothing stays",
  correspondence: "Has no match in the nearest normal frames",
};

const ACTIONS = {
  login: "signed in",
  logout: "signed out",
  review: "reviewed",
  normal: "called it normal",
  sensitivity: "set the sensitivity",
  zones: "changed the zones",
  snooze: "snoozed",
  wake: "ended the snooze",
  enroll: "started an enrolment",
  use: "put a gallery version in force",
  follow: "followed the drift",
  cancel: "cancelled a job",
};

/** @param {string} state */
export const stateWord = (state) => STATES[state] ?? String(state ?? "unknown").toLowerCase();

/** @param {string} review */
export const reviewWord = (review) => REVIEWS[review] ?? String(review);

/** @param {string} channel */
export const channelWord = (channel) => CHANNELS[channel] ?? channel;

/** @param {string} action as the audit names it, e.g. "review" or "alert.review" */
export function actionWord(action) {
  return ACTIONS[action] ?? ACTIONS[String(action).split(/[._]/).at(-1)] ?? String(action).replaceAll("_", " ");
}

/**
 * Why there is nothing of a camera here that its node keeps. @param {string|null|undefined} node null: it is scored on
 * this machine @param {string} what @param {string} otherwise where that is not why
 */
export function onItsNode(node, what, otherwise) {
  if (node === null || node === undefined) return otherwise;
  return `${what} stay on the machine of the cluster that scores the camera${node ? `: now ${node}` : ""}.`;
}

/** A chip that says how a camera is. @param {any} camera */
export function stateChip(camera) {
  const kind = camera.watched ? "good" : camera.state === "ENDED" || camera.state === "CONNECTING" ? "calm" : "bad";
  return h("span", { class: `chip ${kind}` }, stateWord(camera.state));
}

/** A chip with what people said of an alert. @param {any} alert */
export function reviewChip(alert) {
  return h("span", { class: `chip review-${alert.review}` }, reviewWord(alert.review));
}

/** @param {number|null|undefined} strength score / threshold */
export const times = (strength) => (strength === null || strength === undefined ? "–" : `${strength.toFixed(2)} ×`);

/** ms for which what a live frame says stands before what the status says about once a second. */
export const LIVE_HOLDS = 3000;

/** A bar of a strength, with a line at the threshold. `live` sets what a frame says, `known` what the status says. */
export function strengthBar() {
  const fill = h("div", { class: "bar-fill" });
  const value = h("span", { class: "bar-value number" }, "–");
  const track = h("div", { class: "bar-track", "aria-hidden": "true" }, fill, h("div", { class: "bar-line" }));
  const node = h("div", { class: "bar" }, track, value, h("span", { class: "visually-hidden" }, "of the threshold"));
  const set = (strength) => {
    const known = typeof strength === "number";
    fill.style.setProperty("--part", String(known ? Math.min(Math.max(strength, 0) / 2, 1) : 0)); // the line stands at half
    node.classList.toggle("over", known && strength > 1);
    value.textContent = known ? times(strength) : "–";
    node.title = known ? `Score: ${times(strength)} threshold` : "No score";
  };
  let liveAt = -Infinity;
  const live = (strength) => {
    liveAt = performance.now();
    set(strength);
  };
  const known = (strength) => {
    if (performance.now() - liveAt > LIVE_HOLDS) set(strength);
  };
  return { node, set, live, known };
}

/** e.g. "1 alert", "3 alerts". @param {number} count @param {string} word @param {string} [many] */
export const counted = (count, word, many = `${word}s`) => `${count.toLocaleString()} ${count === 1 ? word : many}`;
