// What every page knows: the user, the cameras as the server last told them, how many alerts wait for a review.
import { get, url } from "./api.js";
import { stream } from "./stream.js";

/** Events: "cameras" (a list or one of it changed), "open" (how many alerts wait), "cluster" (how it is, in brief). */
class State extends EventTarget {
  /** /me @type {any} */
  me = null;
  /** by id, in the server's order @type {Map<string, any>} */
  cameras = new Map();
  /** of the operator's settings: goes back with every change of them */
  revision = 0;
  /** alerts that nobody has reviewed */
  open = 0;
  /** ids of the alert list as it was last shown, for next and previous @type {string[]} */
  order = [];

  #changes = 0; // of the settings, from this page

  /** Notes what a change of ours made of the revision. @param {number} revision */
  changed(revision) {
    this.revision = revision;
    this.#changes += 1;
  }

  async loadCameras(signal) {
    const changes = this.#changes;
    const answer = await get(url`cameras`, {}, signal);
    if (changes !== this.#changes) return; // asked before a change of ours: it may tell of what was
    this.cameras = new Map(answer.cameras.map((camera) => [camera.id, camera]));
    this.revision = answer.revision;
    this.#tell("cameras", null);
  }

  async loadOpen() {
    const answer = await get(url`alerts`, { review: "open", limit: 1 });
    this.noteCounts(answer.counts);
  }

  /** @param {any} counts as the list of alerts brings them */
  noteCounts(counts) {
    if (counts?.open === undefined || counts.open === this.open) return;
    this.open = counts.open;
    this.#tell("open", this.open);
  }

  /** @param {{ name: string, troubles: number }|null} cluster null: this run has one machine */
  noteCluster(cluster) {
    this.#tell("cluster", cluster);
  }

  /** Takes in one camera's new state. @param {any} camera */
  take(camera) {
    this.cameras.set(camera.id, { ...this.cameras.get(camera.id), ...camera });
    this.#tell("cameras", camera.id);
  }

  /** Notes what a live frame says, without telling: that comes many times a second. @param {any} live */
  takeLive({ camera, alert, score, threshold, strength }) {
    const known = this.cameras.get(camera);
    if (known) Object.assign(known, { alert, score, threshold, strength });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const state = new State();

let asked = 0;

const REFRESH = 5000; // ms: counts and ages have no events of their own

/** Asks for the cameras again and again, for as long as a page that shows them is open. @param {AbortSignal} signal */
export function keepCameras(signal) {
  const load = () => document.hidden || state.loadCameras(signal).catch(() => undefined);
  const timer = setInterval(load, REFRESH);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Keeps the state up to date by the server's events. */
export function followStream() {
  stream.addEventListener("camera", (event) => state.take(event.detail));
  stream.addEventListener("live", (event) => state.takeLive(event.detail));
  stream.addEventListener("settings", () => refresh());
  stream.addEventListener("status", ({ detail }) => state.noteCluster(detail.cluster ?? null));
  stream.addEventListener("hello", () => refresh());
  stream.addEventListener("alert", () => soon(() => state.loadOpen()));
}

function refresh() {
  Promise.all([state.loadCameras(), state.loadOpen()]).then(
    () => stream.caughtUp(),
    () => stream.catchingUp && setTimeout(refresh, REFRESH), // until then the page says that it is behind
  );
}

/** Many alerts at once ask once. */
function soon(action) {
  clearTimeout(asked);
  asked = setTimeout(() => action().catch(() => undefined), 400); // ms
}
