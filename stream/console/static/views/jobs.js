// What the console has started: enrolments, additions to galleries, and how they went.
import { get, url } from "../js/api.js";
import { h, replace } from "../js/dom.js";
import { afterwards, countOf, jobFailure, jobProgress, VANISHED } from "../js/jobs.js";
import { link } from "../js/router.js";
import { stream } from "../js/stream.js";
import { counted } from "../js/words.js";
import { secondsBetween, span, timeNode } from "../js/time.js";

const KINDS = { enroll: "Enrolment", normal: "This is normal", use: "Gallery version", follow: "Slow drift" };
const STATES = {
  running: ["Running", "calm"],
  done: ["Done", "good"],
  failed: ["Failed", "bad"],
  cancelled: ["Stopped", "calm"],
};

/** @type {import("../js/router.js").Page} */
export async function jobsPage(root, { signal }) {
  const list = h("ol", { class: "jobs" });
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h("h1", null, "Jobs"),
      h("p", { class: "muted" }, "What the console has started, newest first."),
    ),
    list,
  );
  replace(list, h("li", { class: "loading" }, "Loading the jobs"));
  /** @type {Map<string, ReturnType<typeof jobRow>>} */
  const rows = new Map();
  const load = async () => {
    const { jobs: known } = await get(url`jobs`, {}, signal);
    const ids = new Set(known.map((job) => job.id));
    const before = [...rows.values()].map((row) => row.job).filter((job) => !ids.has(job.id));
    const jobs = [...before.map(vanished), ...known];
    rows.clear();
    replace(
      list,
      jobs.length
        ? jobs.map((job) => added(rows, job).node)
        : h("li", { class: "empty" }, "No job yet. Enrolments and changes of galleries show up here."),
    );
  };
  await load();
  stream.addEventListener("again", () => load().catch(() => undefined), { signal });
  stream.addEventListener(
    "job",
    ({ detail: job }) => {
      if (rows.has(job.id)) return rows.get(job.id).see(job);
      list.querySelector(".empty")?.remove();
      list.prepend(added(rows, job).node);
    },
    { signal },
  );
}

/** A job that the console does not know any more: it is another console. */
const vanished = (job) => (job.state === "running" ? { ...job, state: "failed", error: VANISHED } : job);

function added(rows, job) {
  const row = jobRow(job);
  rows.set(job.id, row);
  return row;
}

function jobRow(first) {
  const node = h("li", { class: "panel job" });
  const progress = jobProgress();
  const row = { node, job: first, see: (job) => see((row.job = job)) };
  const see = (job) => {
    const [text, kind] = STATES[job.state] ?? [job.state, "calm"];
    const about = [
      job.camera && h("a", { href: link`camera/${job.camera}` }, job.camera),
      job.scene && job.scene !== job.camera ? job.scene : null,
      job.alert_id && h("a", { href: link`alerts/${job.alert_id}` }, "its alert"),
    ].filter(Boolean);
    progress.see(job);
    replace(
      node,
      h(
        "div",
        { class: "panel-head" },
        h("strong", null, KINDS[job.kind] ?? job.kind),
        about.map((each) => h("span", null, each)),
        h("span", { class: `chip ${kind}` }, text),
        h("div", { class: "spacer" }),
        h(
          "span",
          { class: "muted" },
          `${job.user}, `,
          timeNode(job.started_at),
          job.ended_at ? `, took ${span(secondsBetween(job.started_at, job.ended_at))}` : "",
        ),
      ),
      job.state === "running" ? progress.node : null,
      job.state === "failed" ? h("p", { class: "problem" }, jobFailure(job)) : null,
      job.state === "done" ? resultText(job) : null,
    );
  };
  see(first);
  return row;
}

function resultText({ result }) {
  if (!result) return h("p", { class: "problem" }, "It has ended without a result.");
  const parts = [
    result.version && `version ${result.version}`,
    result.frames && `${result.frames} frames`,
    result.silenced &&
      `${counted(countOf(result, "silenced"), "alert")} ${result.version ? "silenced" : "would be silenced"}`,
    result.added !== undefined && `${result.added} frames added`,
  ];
  const text = parts.filter(Boolean).join(", ");
  const problems = afterwards(result).map((each) => h("p", { class: "problem" }, each));
  return [text ? h("p", { class: "hint number" }, text) : null, problems];
}
