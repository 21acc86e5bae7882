// Parts of the cluster's page: nodes with their workers, outboxes, lists that open and stay open.
import { h, icon } from "../js/dom.js";
import { link } from "../js/router.js";
import { secondsBetween, span, timeNode } from "../js/time.js";
import { counted } from "../js/words.js";

const STATES = {
  RUNNING: ["Running", "good"],
  STARTING: ["Starting", "calm"],
  DEGRADED: ["Works in part", "bad"],
  SILENT: ["Does not answer", "bad"],
  GONE: ["Gone", "bad"],
  LEAVING: ["Is being emptied", "calm"],
};

/** @param {string} iso @returns {string} e.g. "for 3 min" */
export function ago(iso) {
  const seconds = secondsBetween(iso);
  return seconds < 10 ? "just now" : `for ${span(seconds)}`;
}

/** @param {any} node */
export const isAway = ({ state }) => state === "GONE" || state === "SILENT";

/** Lists that the user has opened or closed, by key: they outlive what a new look makes. @type {Map<string, boolean>} */
const folds = new Map();

/**
 * A list that opens.
 * @param {string} key the same in each look
 * @param {string} summary
 * @param {() => any} content
 * @param {boolean} [open] whether it is open until somebody closes it
 */
export function fold(key, summary, content, open = false) {
  const isOpen = folds.get(key) ?? open;
  const body = h("div", { class: "fold-body" }, isOpen ? content() : null);
  const node = h("details", { open: isOpen }, h("summary", { "data-key": key }, summary), body);
  node.addEventListener("toggle", () => {
    folds.set(key, node.open);
    if (node.open && !body.firstChild) body.append(...[content()].flat());
  });
  return node;
}

/** Makes a part of the page anew, with the focus where it was. @param {Element} root @param {() => void} make */
export function byKey(root, make) {
  const at = root.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  make();
  if (at === null) return;
  [...root.querySelectorAll("[data-key], a")].find((node) => keyOf(node) === at)?.focus({ preventScroll: true });
}

const keyOf = (node) => node.dataset.key ?? node.getAttribute("href");

/** Cameras as links. @param {any[]} cameras @param {boolean} withReason each has its own */
export function cameraList(cameras, withReason) {
  return h(
    "ul",
    { class: withReason ? "camera-reasons" : "camera-names" },
    cameras.map(({ id, reason, since, blind }) =>
      h(
        "li",
        null,
        h("a", { class: blind ? "problem" : null, href: link`camera/${id}` }, id),
        blind ? h("span", { class: "visually-hidden" }, " is not watched") : null,
        withReason ? [h("span", null, reason), h("span", { class: "muted" }, "since ", timeNode(since))] : null,
      ),
    ),
  );
}

function stateChip(state) {
  const [text, kind] = STATES[state] ?? [state ? String(state).toLowerCase() : "Not known", "calm"];
  return h("span", { class: `chip ${kind}` }, text);
}

/** @param {any} node as /cluster gives it */
export function nodeCard(node) {
  const away = isAway(node); // nothing of it works: that is said once
  const all = node.workers.flatMap((worker) => worker.cameras);
  return h(
    "li",
    { class: `panel node ${away ? "away" : ""}` },
    h("div", { class: "panel-head" }, h("h3", null, node.name), stateChip(node.state)),
    away || node.reason
      ? h(
          "p",
          { class: away ? "problem" : null },
          node.since ? ["since ", timeNode(node.since), ` (${ago(node.since)})`] : null,
          node.reason ? `${node.since ? ": " : ""}${node.reason}` : null,
        )
      : null,
    h("p", { class: "hint" }, inWords(node)),
    away ? null : node.workers.map((worker) => workerRow(worker, node)),
    away ? null : node.readers.filter((reader) => reader.state !== "RUNNING").map(readerRow),
    all.length ? fold(`node ${node.name}`, cameraCount(node), () => cameraList(all, false)) : null,
  );
}

function inWords(node) {
  const { address, cpus, gpus, labels, reads } = node;
  const network = labels["spade-network"];
  const parts = [
    address,
    cpus ? counted(cpus, "core") : "",
    gpus ? counted(gpus, "GPU") : "",
    network ? `network ${network}` : "",
    reads && !isAway(node) ? `reads ${counted(reads, "camera")}` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

const cameraCount = ({ cameras, blind }) => `${counted(cameras, "camera")}${blind ? `, ${blind} not watched` : ""}`;

function workerRow(worker, node) {
  const { load, frames_per_second: rate, capacity, state, reason } = worker;
  const isOver = load !== null && load > 1;
  const fill = h("div", { class: "meter-fill" });
  fill.style.setProperty("--part", String(Math.min(load ?? 0, 1)));
  const figures = `${load === null ? "–" : `${Math.round(load * 100)} %`} of its time`;
  const rates = rate === null ? null : `${rate.toFixed(0)} of ${capacity.toFixed(0)} frames a second`;
  return h(
    "div",
    { class: "cluster-worker", title: rates },
    h(
      "div",
      { class: "worker-line number" },
      h("span", null, shortName(worker.name, node.name)),
      state === "RUNNING" ? null : stateChip(state),
      h("span", { class: isOver ? "problem" : "muted" }, isOver ? `${figures}: more than it has` : figures),
    ),
    h("div", { class: `meter ${isOver ? "over" : ""}`, "aria-hidden": "true" }, fill),
    reason ? h("p", { class: state === "RUNNING" ? "hint" : "problem" }, reason) : null,
    Object.entries(worker.fetching).map(([scene, words]) =>
      h("p", { class: "hint" }, `gallery of ${scene} is on its way: ${words}`),
    ),
  );
}

/** The node stands above it. */
const shortName = (name, node) => `Worker ${name.startsWith(`${node}:`) ? name.slice(node.length + 1) : name}`;

function readerRow({ state, reason }) {
  return h("p", { class: "reader-line" }, "Readers ", stateChip(state), reason ? ` ${reason}` : null);
}

/** @param {any[]} outboxes */
export function outboxPanel(outboxes) {
  const missing = outboxes.filter((each) => each.state === "missing");
  const silent = outboxes.filter((each) => each.state !== "missing" && each.problem);
  return h(
    "section",
    { class: "panel", "aria-labelledby": "outbox-title" },
    h("h2", { id: "outbox-title" }, "Outboxes"),
    missing.length || silent.length
      ? [missing.map(missingOutbox), silent.map(silentOutbox)]
      : h("p", { class: "hint" }, "Every outbox can be reached: no alert waits on a disk that is away."),
    fold("outboxes", counted(outboxes.length, "outbox", "outboxes"), () => outboxTable(outboxes)),
  );
}

function missingOutbox({ id, node, since, ...numbers }) {
  return h(
    "div",
    { class: "missing" },
    h(
      "p",
      { class: "problem" },
      icon("warning"),
      h("span", null, `Outbox ${id} is on the disk of ${node}, which is away since `, timeNode(since), "."),
    ),
    h(
      "p",
      { class: "hint" },
      `${waiting(numbers)} when the disk is back. If it never will be: spade-stream cluster forget ${id}`,
    ),
  );
}

/** It should give its alerts, and does not. */
function silentOutbox({ id, node, problem, ...numbers }) {
  return h(
    "div",
    { class: "missing" },
    h("p", { class: "problem" }, icon("warning"), h("span", null, `Outbox ${id} on ${node}: ${problem}`)),
    h("p", { class: "hint" }, `${waiting(numbers)} when it answers.`),
  );
}

const outboxChip = (state) =>
  h("span", { class: `chip ${state === "live" ? "good" : "bad"}` }, state === "live" ? "Live" : "Missing");

/** Which of its alerts are not here yet; more may have been committed than was heard of. */
function waiting({ last_seq: last, taken }) {
  if (taken === null || taken === undefined) return `Its alerts up to number ${last} that are not here yet come`;
  if (last > taken) return `Its alerts ${taken + 1} to ${last} are not here yet. They come`;
  return `All of its alerts that were heard of, up to number ${taken}, are here. Any later ones come`;
}

function outboxTable(outboxes) {
  const rows = outboxes.map(({ id, node, state, since, taken, last_seq: last, gaps, problem }) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, id),
      h("td", null, node),
      h("td", null, outboxChip(state), problem ? h("span", { class: "problem" }, ` ${problem}`) : null),
      h("td", null, timeNode(since)),
      h("td", { class: "number right" }, last ?? "–"),
      h("td", { class: "number right" }, taken ?? "–"),
      h("td", { class: "number" }, gaps.map(([first, end]) => (first === end ? first : `${first} to ${end}`)).join(", ")),
    ),
  );
  const names = ["Outbox", "Node", "State", "Since", "Last number", "Here up to", "Lost for good"];
  const head = names.map((text) => h("th", { scope: "col" }, text));
  return h(
    "div",
    { class: "scroll-x" },
    h("table", null, h("thead", null, h("tr", null, head)), h("tbody", null, rows)),
  );
}
