// The cluster: is anything not watched, where, why, since when, and what is being done about it; then all its nodes.
import { get, url } from "../js/api.js";
import { h, icon, replace } from "../js/dom.js";
import { link } from "../js/router.js";
import { state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { localTime, timeNode } from "../js/time.js";
import { counted, stateWord } from "../js/words.js";
import { ago, byKey, cameraList, fold, isAway, nodeCard, outboxPanel } from "./cluster_parts.js";

const EVERY = 2000; // ms between two looks: the control is heard once a second
const AGES = 10000; // ms after which "for 3 min" is written anew

/** @type {import("../js/router.js").Page} */
export async function clusterPage(root, { signal }) {
  const parts = {
    about: h("p", { class: "muted" }),
    verdict: h("div", { role: "status" }),
    problems: h("ul", { class: "cluster-problems" }),
    blind: h("div"),
    nodes: h("div"),
    rest: h("div", { class: "cluster-rest" }),
  };
  const shown = new Map();
  const show = (cluster) => {
    state.noteCluster(cluster);
    if (!cluster) return replace(root, oneMachine());
    root.classList.toggle("unknown", !cluster.fresh); // what stands below is of then: nothing of it looks well
    section(shown, parts.about, about(cluster), () => aboutText(cluster));
    section(shown, parts.verdict, verdictOf(cluster), () => verdict(cluster));
    section(shown, parts.problems, cluster.problems, () => cluster.problems.map((each) => problem(each)));
    section(shown, parts.blind, [cluster.not_watched, now()], () => blindPanel(cluster.not_watched));
    section(shown, parts.nodes, [cluster.nodes, now()], () => nodesPanel(cluster.nodes));
    section(shown, parts.rest, [cluster.outboxes, cluster.moves, now()], () => [
      outboxPanel(cluster.outboxes),
      movesPanel(cluster.moves),
    ]);
    if (!root.contains(parts.verdict))
      replace(
        root,
        h("div", { class: "page-head" }, h("h1", null, "Cluster"), parts.about),
        parts.verdict,
        parts.problems,
        parts.blind,
        parts.nodes,
        parts.rest,
      );
  };
  replace(root, h("p", { class: "loading" }, "Loading the cluster"));
  const load = async () => show((await get(url`cluster`, {}, signal)).cluster);
  await load();
  const again = () => document.hidden || load().catch(() => undefined); // a lost line has a veil of its own
  const timer = setInterval(again, EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  stream.addEventListener("again", again, { signal });
}

/** Ages are texts, too: they change every now and then. */
const now = () => Math.floor(Date.now() / AGES);

/** Fills a part of the page where what it shows has changed, and leaves the focus where it was. */
function section(shown, node, content, make) {
  const mark = JSON.stringify(content);
  if (shown.get(node) === mark) return;
  shown.set(node, mark);
  byKey(node, () => replace(node, make()));
}

function oneMachine() {
  return [
    h("div", { class: "page-head" }, h("h1", null, "Cluster")),
    h(
      "p",
      { class: "empty" },
      "This run has one machine. A cluster is started with spade-stream run CONFIG --cluster ADDRESS.",
    ),
  ];
}

const about = ({ name, nodes, cameras, written }) => [name, nodes.length, cameras.all, written];

const aboutText = ({ name, nodes, cameras, written }) => [
  `${[name, counted(nodes.length, "node"), counted(cameras.all, "camera")].filter(Boolean).join(", ")}, as of `,
  timeNode(written),
];

/** @returns {[string, string, string]} kind, sentence, and what more there is to say */
function verdictOf({ fresh, written, damaged, cameras, nodes, moves, troubles, problems }) {
  const { all, ended, not_watched: blind } = cameras;
  if (damaged) return ["bad", "How the cluster is doing cannot be read.", damaged];
  if (!fresh)
    return [
      "bad",
      "How the cluster is doing is not known.",
      `Its control was last heard ${written ? `at ${localTime(written)}` : "never"}. What stands below is of then. ` +
        "Workers go on with the cameras that they have; nothing is moved until the control is back.",
    ];
  const more = [
    ...nodes.filter(isAway).map(({ name, since }) => `${name} is away since ${localTime(since)}.`),
    ended ? `${counted(ended, "recording")} at the end.` : "",
    moves.moving.length || moves.waiting ? movesInWords(moves) : "",
  ]
    .filter(Boolean)
    .join(" ");
  if (blind) return ["bad", `${blind} of ${counted(all, "camera")} ${blind === 1 ? "is" : "are"} not watched.`, more];
  const what = `${all === 1 ? "The camera is" : `All ${all.toLocaleString()} cameras are`} watched.`;
  const isWell = !troubles && !problems.length;
  return [isWell ? "good" : "warn", what, more || (isWell ? "" : "But not all is well, as is said below.")];
}

function verdict(cluster) {
  const [kind, text, more] = verdictOf(cluster);
  const picture = kind === "good" ? "check" : kind === "warn" ? "warning" : "eyeOff";
  return h(
    "div",
    { class: `verdict ${kind}` },
    icon(picture),
    h("div", null, h("strong", null, text), more ? h("p", null, more) : null),
  );
}

function movesInWords({ moving, waiting }) {
  const parts = [];
  if (moving.length) parts.push(`${counted(moving.length, "camera")} being moved`);
  if (waiting) parts.push(`${waiting} ${waiting === 1 ? "waits" : "wait"} for a worker`);
  return `${parts.join(", ")}.`;
}

const problem = (text) => h("li", { class: "trouble" }, icon("warning"), h("span", null, text));

function blindPanel(groups) {
  if (!groups.length) return null;
  return h(
    "section",
    { class: "panel", "aria-labelledby": "blind-title" },
    h("h2", { id: "blind-title" }, "Not watched"),
    h("ul", { class: "blind-groups" }, groups.map(blindGroup)),
  );
}

function blindGroup({ state, what, node, reason, doing, since, cameras }) {
  const where = node ? `${what} on ${node}` : what === "read" ? "read nowhere" : "scored nowhere";
  const [first] = cameras;
  const many = cameras.length > 1;
  const list = () => cameraList(cameras, reason === null);
  const isShort = cameras.length <= 6 && reason === null;
  return h(
    "li",
    { class: "blind-group" },
    h(
      "div",
      { class: "blind-head" },
      many
        ? h("strong", { class: "number" }, counted(cameras.length, "camera"))
        : h("a", { class: "blind-name", href: link`camera/${first.id}` }, first.id),
      h("span", { class: "chip bad" }, stateWord(state)),
      h("span", { class: "muted" }, where),
      since ? h("span", { class: "since" }, "since ", timeNode(since), ` (${ago(since)})`) : null,
    ),
    reason === null ? null : reason ? h("p", { class: "wide-text" }, reason) : null,
    doing ? h("p", { class: "doing" }, icon("clock"), h("span", null, doing)) : null,
    many ? fold(`${state} ${what} ${node} ${doing}`, names(cameras), list, isShort) : null,
  );
}

/** The first ones by name, so that most lists need not be opened. */
function names(cameras) {
  const some = cameras.slice(0, 6).map(({ id }) => id);
  return `${some.join(", ")}${cameras.length > some.length ? ` and ${cameras.length - some.length} more` : ""}`;
}

function nodesPanel(nodes) {
  return h(
    "section",
    { class: "nodes-section", "aria-labelledby": "nodes-title" },
    h("h2", { id: "nodes-title" }, "Nodes"),
    nodes.length
      ? h("ul", { class: "nodes" }, nodes.map(nodeCard))
      : h("p", { class: "empty" }, "The control knows no node yet."),
  );
}

function movesPanel({ moving, waiting, done }) {
  const rows = moving.map(({ camera, source, target }) =>
    h(
      "li",
      null,
      h("a", { href: link`camera/${camera}` }, camera),
      target ? ` from ${source || "nowhere"} to ${target}` : "",
    ),
  );
  return h(
    "section",
    { class: "panel", "aria-labelledby": "moves-title" },
    h("h2", { id: "moves-title" }, "Moves"),
    h(
      "p",
      { class: "hint" },
      moving.length || waiting ? movesInWords({ moving, waiting }) : "No camera is on the move.",
      ` ${done.toLocaleString()} done since the control began.`,
    ),
    rows.length ? h("ul", { class: "moves" }, rows) : null,
  );
}
