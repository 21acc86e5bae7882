// Says in words what is wrong with the machine: what keeps alerts from being found, and from arriving.
import { button, h, icon, replace } from "./dom.js";
import { stream } from "./stream.js";
import { localTime } from "./time.js";

const SCORES = new Set(["RUNNING", "DEGRADED", "LIVE", "OK", "WATCHING"]); // states of a worker that scores
const WORKER = {
  NOT_RUNNING: "the worker does not run",
  NOT_ANSWERING: "the worker does not answer",
  FAILED: "the worker has failed",
  STOPPED: "the worker was stopped",
};
const MOST_LOST = 5; // gaps that are shown

/** @param {any} status as /status gives it @returns {string[]} one sentence for each trouble */
export function troublesIn(status) {
  return [
    ...ofSupervisor(status?.supervisor ?? {}),
    ...Object.entries(status?.processes ?? {}).flatMap(([name, process]) => ofProcess(name, process ?? {})),
    ...ofWorker(status?.worker ?? {}),
    ...Object.entries(status?.sinks ?? {}).flatMap(([name, sink]) => ofSink(name, sink ?? {})),
    ...(status?.feed?.connected === false
      ? ["No connection to the alert feed: new alerts do not arrive here."]
      : []),
    ...ofConfig(status?.config ?? {}),
  ];
}

function ofSupervisor({ state, reason }) {
  if (state !== "NOT_ANSWERING") return [];
  return [`The supervisor does not answer${because(reason)}. A process that ends is not started again.`];
}

function ofProcess(name, { state, last_exit: exit, restarts }) {
  if (state !== "waiting" && state !== "hung") return [];
  const how = state === "hung" ? "did not answer and was ended" : "has ended";
  const last = exit === null || exit === undefined || exit === "" ? "" : ` (${exit})`;
  return [`Process ${name} ${how}${last}. It is started again${restarts ? `; restarts so far: ${restarts}` : ""}.`];
}

function ofWorker({ state, reason, operator_problem: operator, live_problem: live, drift_problem: drift }) {
  const found = [];
  const name = String(state ?? "").toUpperCase();
  if (state && !SCORES.has(name)) {
    const words = WORKER[name] ?? `the worker is ${state}`;
    found.push(`No camera is scored: ${words}${reason ? `: ${reason}` : ", and does not say why"}.`);
  }
  if (name === "DEGRADED") found.push(`Scoring works in part only: ${reason || "the worker does not say why"}.`);
  if (operator && !String(reason ?? "").includes(operator)) found.push(`Operator settings: ${operator}`);
  if (live) found.push(`Live views: ${live}`);
  if (drift) found.push(`Frames for following slow change are lost: ${drift}`);
  return found;
}

function ofSink(name, { failing_since: since, last_error: error }) {
  return since ? [`Sink ${name} takes no alerts since ${localTime(since)}${because(error)}.`] : [];
}

function ofConfig({ error, problem, loaded }) {
  const said = error || problem;
  if (!said) return [];
  return [`Configuration: ${loaded ? `the one of ${localTime(loaded)} stays in force: ` : ""}${said}`];
}

const because = (reason) => (reason ? `: ${reason}` : "");

/** The banners over all pages. They are changed only where they differ: screen readers read each anew. */
export function troublesNode() {
  const now = h("div");
  const lost = h("div");
  let shown = "";
  const show = (status) => {
    const found = troublesIn(status);
    if (found.join("\n") === shown) return;
    shown = found.join("\n");
    replace(
      now,
      found.map((text) => banner(text)),
    );
  };
  stream.addEventListener("status", (event) => show(event.detail));
  stream.addEventListener("feed", (event) =>
    show({ ...stream.status, feed: { ...stream.status?.feed, ...event.detail } }),
  );
  stream.addEventListener("lost", ({ detail }) => {
    const text = lostText(detail);
    if ([...lost.children].some((each) => each.textContent.startsWith(text))) return; // heard on two connections
    const node = banner(text, () => node.remove());
    lost.prepend(node);
    while (lost.children.length > MOST_LOST) lost.lastChild.remove();
  });
  return h("div", { class: "troubles", role: "status" }, catchingNode(), now, lost);
}

function lostText({ first, last }) {
  const which = first === last ? `Alert message ${first} was` : `Alert messages ${first} to ${last} were`;
  return `${which} removed by retention before the console saw them: nobody can review them here.`;
}

function banner(text, dismiss) {
  const close = dismiss ? button("Dismiss", dismiss, { class: "button small" }) : null;
  return h("p", { class: "trouble" }, icon("warning"), h("span", null, text), close);
}

/** What was here when the page was hidden is not how things are. */
function catchingNode() {
  const node = h("p", { class: "trouble catching", hidden: true }, icon("clock"));
  node.append(h("span", null, "This page was hidden. It is catching up with what happened meanwhile."));
  stream.addEventListener("catching", ({ detail }) => {
    node.hidden = !detail;
    document.body.classList.toggle("catching-up", detail);
  });
  return node;
}
