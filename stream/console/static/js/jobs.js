// Follows a job of the server until it is over.
import { get, post, url } from "./api.js";
import { button, h, replace, setText } from "./dom.js";
import { stream } from "./stream.js";

const ASK_AGAIN = 2500; // ms: for when the events that tell of it do not arrive

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
    const see = (seen) => {
      if (seen.id !== id || over.signal.aborted) return;
      onProgress(seen);
      if (seen.state === "running") return;
      over.abort();
      resolve(seen);
    };
    const timer = setInterval(() => get(url`jobs/${id}`).then(see, () => undefined), ASK_AGAIN);
    over.signal.addEventListener("abort", () => clearInterval(timer));
    signal?.addEventListener("abort", () => over.abort());
    stream.addEventListener("job", (event) => see(event.detail), { signal: over.signal });
    if (typeof job === "object") see(job);
    get(url`jobs/${id}`).then(see, () => undefined);
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

/** What to tell of a job that did not end well. @param {any} job */
export function jobFailure(job) {
  if (job.state === "cancelled") return "Stopped. Nothing was changed.";
  return job.error || "It failed, and did not say why. The log of spade-stream says more.";
}
