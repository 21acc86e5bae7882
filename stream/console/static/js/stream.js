// The server's live events: one EventSource a page, opened again whenever it breaks, and a plain word for its state.
// A browser has six connections for one server, and each stream holds one: a page that nobody sees lets go of its own.
import { get, url } from "./api.js";

const EVENTS = ["hello", "live", "camera", "alert", "job", "settings", "feed", "lost"];
const PAUSES = [500, 1000, 2000, 4000]; // ms before each new try; the last one for ever
const BEAT = 8000; // ms between two questions whether the server is there: a dead line gives no event of its own

/**
 * Events of the server by name, all with `detail`; "connection" on each change of `connected`, "catching" on each of
 * `catchingUp`, and "again" once it hears the server after a time without: what a page shows may be older than that.
 */
class Stream extends EventTarget {
  connected = false;
  /** whether the page was hidden, and does not know yet what happened meanwhile */
  catchingUp = false;
  /** ms since 1970 of this clock when the connection was lost; null while there is one @type {number|null} */
  lostAt = null;
  /** the latest /status, null before @type {any} */
  status = null;
  /** the newest connection @type {EventSource|null} */
  #source = null;
  /** that one, and the one that is heard until the newest has begun @type {Set<EventSource>} */
  #open = new Set();
  /** the one that is heard @type {EventSource|null} */
  #heard = null;
  #cameras = [];
  #tries = 0;
  #running = false;
  #deafSince = Date.now(); // 0 = it hears the server
  #timer = 0;
  #beat = 0;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** Begins, as soon as somebody sees the page. @param {string[]} [cameras] whose live scores are wanted */
  start(cameras = []) {
    this.#cameras = cameras;
    this.#running = true;
    if (!document.hidden) this.#begin();
  }

  /** Ends, as for a session that is over. */
  stop() {
    this.#running = false;
    this.#leave();
    this.#catch(false);
  }

  /** Says whose live scores the page needs from now on. @param {string[]} cameras */
  watch(cameras) {
    if (cameras.join("\n") === this.#cameras.join("\n")) return;
    this.#cameras = cameras;
    if (this.#wanted) this.#connect();
  }

  /** The page knows again how things stand. */
  caughtUp() {
    if (this.connected && !this.#deafSince) this.#catch(false);
  }

  get #wanted() {
    return this.#running && !document.hidden;
  }

  #seen() {
    if (!this.#running) return;
    if (document.hidden) return this.#leave();
    this.#catch(true);
    this.#begin();
  }

  #begin() {
    this.#tries = 0;
    this.#connect();
    clearInterval(this.#beat);
    this.#beat = setInterval(() => this.#ask(), BEAT);
    this.#ask();
  }

  #leave() {
    clearInterval(this.#beat);
    this.#hangUp();
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#deafSince ||= Date.now();
    this.#open.forEach((source) => source.close());
    this.#open.clear();
    this.#source = this.#heard = null;
  }

  #connect() {
    clearTimeout(this.#timer);
    const words = new URLSearchParams(this.#cameras.length ? { live: this.#cameras.join(",") } : {});
    // Those that have not begun yet would each take a connection of the six, and are not wanted any more.
    this.#open.forEach((other) => other !== this.#heard && other.close());
    const source = new EventSource(`/api/v1/stream?${words}`);
    this.#source = source;
    this.#open = new Set(this.#heard ? [this.#heard, source] : [source]);
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#take(source, name, event));
    source.addEventListener("error", () => this.#broken(source));
  }

  #take(source, name, event) {
    if (!this.#open.has(source)) return;
    let detail = null;
    try {
      detail = JSON.parse(event.data);
    } catch {
      return; // half an event: the next one says it again
    }
    if (name !== "hello") return this.#tell(name, detail);
    if (source === this.#source) this.#begun(source, detail);
  }

  /** The one before was kept until now, so that nothing is missed between the two. */
  #begun(source, hello) {
    this.#open.forEach((other) => other !== source && other.close());
    this.#open = new Set([source]);
    this.#heard = source;
    const wasDeaf = this.#deafSince;
    this.#deafSince = 0;
    this.#is(true);
    this.#tell("hello", hello);
    if (wasDeaf) this.#tell("again", null);
  }

  #broken(source) {
    source.close();
    this.#open.delete(source);
    if (source === this.#heard) {
      this.#heard = null;
      this.#deafSince ||= Date.now(); // the newest has not begun yet: what happens until then is missed
    }
    if (source !== this.#source) return;
    this.#lose();
  }

  #lose() {
    this.#hangUp();
    this.#is(false);
    if (!this.#wanted) return;
    const pause = PAUSES[Math.min(this.#tries++, PAUSES.length - 1)];
    const again = async () => (await this.#ask()) && this.#wanted && !this.#source && this.#connect();
    this.#timer = setTimeout(again, pause);
  }

  /** @returns {Promise<boolean>} whether there was an answer: even a bad one is a connection */
  async #ask() {
    try {
      this.status = await get(url`status`);
      this.#tell("status", this.status);
    } catch (error) {
      if (error.status !== 0) return true;
      if (this.#wanted) this.#lose();
      return false;
    }
    return true;
  }

  #is(connected) {
    if (connected) this.#tries = 0;
    if (this.connected === connected && (connected || this.lostAt !== null)) return;
    this.connected = connected;
    this.lostAt = connected ? null : this.#deafSince;
    if (!connected) this.#catch(false); // there is a plainer word for that
    this.#tell("connection", connected);
  }

  #catch(catching) {
    if (this.catchingUp === catching) return;
    this.catchingUp = catching;
    this.#tell("catching", catching);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const stream = new Stream();
