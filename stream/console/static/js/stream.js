// The server's live events: one EventSource a page, opened again whenever it breaks, and a plain word for its state.
import { get, url } from "./api.js";

const EVENTS = ["hello", "live", "camera", "alert", "job", "settings", "feed", "lost"];
const PAUSES = [500, 1000, 2000, 4000]; // ms before each new try; the last one for ever
const BEAT = 8000; // ms between two questions whether the server is there: a dead line gives no event of its own

/** Events of the server by name, and "connection" on each change of `connected`; all with `detail`. */
class Stream extends EventTarget {
  connected = false;
  /** ms since 1970 of this clock when the connection was lost; null while there is one @type {number|null} */
  lostAt = null;
  /** the latest /status, null before @type {any} */
  status = null;
  #source = null;
  #cameras = [];
  #tries = 0;
  #running = false;
  #timer = 0;
  #beat = 0;

  /** Begins. @param {string[]} [cameras] whose live scores are wanted */
  start(cameras = []) {
    this.#cameras = cameras;
    this.#running = true;
    this.#open();
    clearInterval(this.#beat);
    this.#beat = setInterval(() => this.#ask(), BEAT);
    this.#ask();
  }

  /** Ends, as for a session that is over. */
  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    clearInterval(this.#beat);
    this.#source?.close();
    this.#source = null;
  }

  /** Says whose live scores the page needs from now on. @param {string[]} cameras */
  watch(cameras) {
    if (cameras.join("\n") === this.#cameras.join("\n")) return;
    this.#cameras = cameras;
    if (this.#running) this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    const before = this.#source;
    const words = new URLSearchParams(this.#cameras.length ? { live: this.#cameras.join(",") } : {});
    const source = new EventSource(`/api/v1/stream?${words}`);
    this.#source = source;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#take(source, name, event));
    source.addEventListener("error", () => this.#broken(source));
    before?.close();
  }

  #take(source, name, event) {
    if (source !== this.#source) return;
    if (name === "hello") this.#is(true);
    let detail = null;
    try {
      detail = JSON.parse(event.data);
    } catch {
      return; // half an event: the next one says it again
    }
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #broken(source) {
    if (source !== this.#source) return;
    source.close();
    this.#source = null;
    this.#is(false);
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    if (!this.#running) return;
    const pause = PAUSES[Math.min(this.#tries++, PAUSES.length - 1)];
    this.#timer = setTimeout(() => this.#ask().then(() => this.#running && !this.#source && this.#open()), pause);
  }

  async #ask() {
    try {
      this.status = await get(url`status`);
      this.dispatchEvent(new CustomEvent("status", { detail: this.status }));
    } catch (error) {
      if (error.status !== 0 || !this.#running) return; // an answer, even a bad one, is a connection
      this.#source?.close();
      this.#source = null;
      this.#is(false);
      this.#later();
    }
  }

  #is(connected) {
    if (connected) this.#tries = 0;
    if (this.connected === connected && (connected || this.lostAt !== null)) return;
    this.connected = connected;
    this.lostAt = connected ? null : Date.now();
    this.dispatchEvent(new CustomEvent("connection", { detail: connected }));
  }
}

export const stream = new Stream();
