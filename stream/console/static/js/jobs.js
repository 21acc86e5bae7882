// Follows a job of the server until it is over.
import { get, post, url } from "./api.js";
import { button, h, replace, setText } from "./dom.js";
import { stream } from "./stream.js";

const ASK_AGAIN = 2500; // ms: for when the events that tell of it do not arrive

/** What became of a job that the console does not know any more: it ends with the console that started it. */
export const VANISHED =
  "The console was started again; the job has ended. Look at what it has done, then start it again if need be.";

/**
 * Waits for the end of a job.
 * @param {any} job as the server answered, or its id
 * @param {(job: any) => void} onProgress
 * @param {AbortSignal} [signal] ends the waiting, not the job
 * @returns {Promise<any>} the job when it is over, whatever its state
 */
export function jobEnd(job, onProgress, signal) {
  const id = typeof job === "string" ? job : job.id;
  return new Promise((resolve) => {
    const over = new AbortController();
    let last = typeof job === "object" ? job : { id };
    const see = (seen) => {
      if (seen.id !== id || over.signal.aborted) return;
      last = seen;
      onProgress(seen);
      if (seen.state === "running") return;
      over.abort();
      resolve(seen);
    };
    const gone = (error) => error.status === 404 && see({ ...last, state: "failed", error: VANISHED });
    const ask = () => get(url`jobs/${id}`, {}, over.signal).then(see, gone);
    const timer = setInterval(ask, ASK_AGAIN);
    over.signal.addEventListener("abort", () => clearInterval(timer));
    signal?.addEventListener("abort", () => over.abort());
    stream.addEventListener("job", (event) => see(event.detail), { signal: over.signal });
    if (typeof job === "object") see(job);
    ask();
  });
}

/** Shows how far a job is, with a button that stops it. */
export function jobProgress() {
  const bar = h("progress", { max: 1 });
  const text = h("span", { class: "number", role: "status" }, "Starting");
  const place = h("span");
  const node = h("div", { class: "job-progress" }, bar, text, place);
  let id = "";
  const stop = () => post(url`jobs/${id}/cancel`).catch((error) => setText(text, error.message));
  const see = (job) => {
    if (id !== job.id) {
      id = job.id;
      replace(place, button("Stop", stop, { class: "button small" }));
    }
    const { stage = "", done, total, text: words } = job.progress ?? {};
    if (total) bar.value = done / total;
    else bar.removeAttribute("value");
    setText(
      text,
      words ||
        [stage, total ? `${done} of ${total}` : (done ?? "")].filter((part) => part !== "").join(" ") ||
        "Starting",
    );
  };
  return { node, see };
}

/** How many alerts of a result: the list itself may be cut. @param {any} result @param {"silenced"|"kept"} name */
export const countOf = (result, name) => result[`${name}_count`] ?? result[name]?.length ?? 0;

/** What went wrong after a job had done its work, in words. @param {any} result @returns {string[]} */
export const afterwards = (result) => [
  ...(result?.worker_problem ? [`Not in force yet: ${result.worker_problem}.`] : []),
  ...(result?.review_problem ? [`The alert is not marked as reviewed: ${result.review_problem}.`] : []),
];

/** The result of a job that is done. Throws where it ended well and gave none. @param {any} job */
export function resultOf(job) {
  if (job.state !== "done") throw new Error(jobFailure(job));
  if (!job.result) throw new Error("The job has ended without a result. Try again; the log of spade-stream says more.");
  return job.result;
}

/** What to tell of a job that did not end well. @param {any} job */
export function jobFailure(job) {
  if (job.state === "cancelled") return "Stopped. Nothing was changed.";
  return job.error || "It failed, and did not say why. The log of spade-stream says more.";
}
