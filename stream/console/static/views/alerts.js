// The list of alerts, newest first: filters, pages by cursor, and new ones that come in on top.
import { get, url } from "../js/api.js";
import { announce, button, h, icon, replace, setText } from "../js/dom.js";
import { bind } from "../js/keys.js";
import { go, link, setQuery } from "../js/router.js";
import { state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { secondsBetween, serverNow, span, timeNode } from "../js/time.js";
import { counted, reviewChip, times } from "../js/words.js";
import { alertFilters } from "./alert_filters.js";

const PAGE = 50;
const MOST = 500; // that the server gives at once

/** @type {import("../js/router.js").Page} */
export async function alertsPage(root, { query, signal }) {
  const list = new AlertList(signal);
  const filters = alertFilters(query, (words) => (setQuery(words), list.load(words)));
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, "Alerts"), list.count, h("div", { class: "spacer" }), list.news),
    filters.node,
    list.node,
    list.more,
  );
  bind(signal, {
    j: ["next alert", () => list.step(1)],
    k: ["previous alert", () => list.step(-1)],
    Enter: ["open the alert", () => list.open()],
    ".": ["show what has come in", () => list.takeIn()],
  });
  stream.addEventListener("alert", ({ detail }) => list.arrived(detail, filters.words()), { signal });
  stream.addEventListener("again", () => list.again(filters.words()), { signal });
  if (!state.cameras.size) await state.loadCameras(signal);
  filters.cameras([...state.cameras.keys()]);
  await list.load(filters.words());
}

class AlertList {
  node = h("ol", { class: "alerts", "aria-label": "Alerts" });
  count = h("p", { class: "muted", role: "status" });
  more = h("div", { class: "more" });
  #newsButton = button("", () => this.takeIn(), { class: "button primary", hidden: true });
  news = h("div", { class: "news" }, this.#newsButton);
  #signal;
  #words = {};
  #next = null;
  #waiting = new Map(); // alerts that came while somebody was reading, by id
  #loads = 0;
  #asking = 0; // answers that are on their way, and may know less than the events

  constructor(signal) {
    this.#signal = signal;
  }

  /** Shows the first page. @param {Record<string, string>} words of the filters */
  async load(words, limit = PAGE) {
    const turn = ++this.#loads;
    this.#words = words;
    if (!this.node.children.length) replace(this.node, ghosts());
    this.#asking += 1;
    const answer = await this.#page(null, limit).catch((error) => this.#failed(error));
    this.#asking -= 1;
    if (!answer || turn !== this.#loads) return this.#settle();
    const known = new Set(answer.alerts.map((alert) => alert.alert_id));
    const focused = this.node.querySelector(".alert-row > a:focus")?.parentElement.dataset.id;
    replace(
      this.node,
      answer.alerts.length ? answer.alerts.map((alert) => row(alert)) : h("li", { class: "empty" }, emptyText(words)),
    );
    if (focused) this.#row(focused)?.firstElementChild.focus({ preventScroll: true });
    this.#after(answer);
    for (const [id, alert] of this.#waiting) {
      if (known.has(id) || !belongs(alert, words) || this.#isBeyond(alert)) this.#waiting.delete(id);
    }
    this.#tellNews();
    this.#settle();
  }

  /** Takes in what came while an answer was on its way, when it was the last one. */
  #settle() {
    if (!this.#asking && !this.#isRead()) this.takeIn();
  }

  /** Shows as much as before, as it is now. @param {Record<string, string>} words */
  async again(words) {
    await this.load(words, Math.min(MOST, Math.max(PAGE, this.node.querySelectorAll(".alert-row").length)));
  }

  async #loadMore() {
    const answer = await this.#page(this.#next, PAGE).catch((error) => this.#failed(error));
    if (!answer) return;
    this.node.append(...answer.alerts.filter((alert) => !this.#row(alert.alert_id)).map((alert) => row(alert)));
    this.#after(answer);
  }

  #page(before, limit) {
    const { range, from, to, ...words } = this.#words;
    return get(url`alerts`, { ...words, ...limits(range, from, to), limit, before }, this.#signal);
  }

  #after(answer) {
    this.#next = answer.next;
    state.noteCounts(answer.counts);
    this.#keepOrder();
    const shown = this.node.querySelectorAll(".alert-row").length;
    setText(this.count, `${counted(shown, "alert")}${answer.next ? " so far" : ""}`);
    replace(this.more, answer.next ? button("Show older", () => this.#loadMore()) : null);
  }

  #failed(error) {
    if (error.name === "AbortError") return null;
    replace(
      this.node,
      h(
        "li",
        { class: "failure", role: "alert" },
        h("p", null, error.message),
        button("Try again", () => this.load(this.#words)),
      ),
    );
    replace(this.more);
    return null;
  }

  #keepOrder() {
    state.order = [...this.node.querySelectorAll(".alert-row")].map((node) => node.dataset.id);
  }

  #row(id) {
    return [...this.node.children].find((node) => node.dataset?.id === id);
  }

  /** A message of an alert came in. @param {any} alert @param {Record<string, string>} words */
  arrived(alert, words) {
    const known = this.#row(alert.alert_id);
    if (known) return void known.replaceWith(row(alert, document.activeElement === known.firstElementChild));
    if (!belongs(alert, words) || this.#isBeyond(alert)) return;
    const isNew = !this.#waiting.has(alert.alert_id);
    this.#waiting.set(alert.alert_id, alert);
    if (isNew) announce(`New alert on ${alert.camera}`);
    if (this.#asking || this.#isRead()) this.#tellNews();
    else this.takeIn();
  }

  /** Whether its place is further down than what is shown so far. */
  #isBeyond(alert) {
    const last = [...this.node.querySelectorAll(".alert-row")].at(-1);
    return Boolean(this.#next && last) && Date.parse(alert.started_at) < Number(last.dataset.began);
  }

  /** Whether rows that move now would move under somebody's eyes, pointer or focus. */
  #isRead() {
    return scrollY > 40 || this.node.matches(":hover") || this.node.contains(document.activeElement);
  }

  /** Puts what has come in to its place, which is the top unless somebody has reviewed an older one. */
  takeIn() {
    if (!this.#waiting.size) return;
    this.node.querySelector(".empty")?.remove();
    for (const alert of this.#waiting.values()) {
      const began = Date.parse(alert.started_at);
      const older = [...this.node.children].find((node) => Number(node.dataset.began) < began);
      this.node.insertBefore(row(alert), older ?? null);
    }
    this.#waiting.clear();
    this.#tellNews();
    this.#keepOrder();
    setText(
      this.count,
      counted(this.node.querySelectorAll(".alert-row").length, "alert") + (this.#next ? " so far" : ""),
    );
  }

  #tellNews() {
    this.#newsButton.hidden = !this.#waiting.size;
    setText(this.#newsButton, `Show ${counted(this.#waiting.size, "new alert")}`);
  }

  step(by) {
    const links = [...this.node.querySelectorAll(".alert-row > a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + by))]?.focus();
  }

  open() {
    const first = this.node.querySelector(".alert-row");
    if (first) go(link`alerts/${first.dataset.id}`);
  }
}

function row(alert, focused = false) {
  const picture = alert.has?.snapshot
    ? h("img", { src: url`alerts/${alert.alert_id}/snapshot.jpg`, alt: "", loading: "lazy", width: 128, height: 72 })
    : h("span", { class: "no-picture" }, "no picture");
  const anchor = h(
    "a",
    { href: link`alerts/${alert.alert_id}` },
    h("span", { class: "thumb" }, picture),
    h(
      "span",
      { class: "row-main" },
      h("strong", null, alert.camera),
      h("span", { class: "muted" }, alert.scene === alert.camera ? "" : alert.scene),
    ),
    h("span", { class: "row-when" }, timeNode(alert.started_at), h("span", { class: "muted" }, lasting(alert))),
    h("span", { class: "row-strength number" }, times(alert.peak_strength)),
    h("span", { class: "row-review" }, reviewChip(alert)),
  );
  if (focused) setTimeout(() => anchor.focus(), 0);
  return h(
    "li",
    {
      class: `alert-row${alert.ended_at ? "" : " going-on"}`,
      "data-id": alert.alert_id,
      "data-began": Date.parse(alert.started_at),
    },
    anchor,
  );
}

const lasting = (alert) =>
  alert.ended_at ? `lasted ${span(secondsBetween(alert.started_at, alert.ended_at))}` : "going on";

const ghosts = () => Array.from({ length: 6 }, () => h("li", { class: "ghost", "aria-hidden": "true" }));

function belongs(alert, { camera, review, range }) {
  const { from } = limits(range);
  return (
    (!from || alert.started_at >= from) && // both ISO in UTC
    (!camera || camera === alert.camera) &&
    (!review || review === "all" || review === alert.review) &&
    range !== "custom"
  );
}

function limits(range, from, to) {
  if (range === "custom")
    return { from: from ? new Date(from).toISOString() : "", to: to ? new Date(to).toISOString() : "" };
  const hours = { "1h": 1, "1d": 24, "7d": 168, "30d": 720 }[range];
  return hours ? { from: new Date(serverNow() - hours * 3600e3).toISOString() } : {};
}

function emptyText(words) {
  const isFiltered = words.camera || words.range !== "all" || words.review !== "all";
  return [
    icon("check"),
    h("p", null, isFiltered ? "No alerts in this range and with these filters." : "No alerts yet."),
  ];
}
