// Enrolment: shows the camera what is normal, while its coverage of the scene grows.
import { get, post, url } from "../js/api.js";
import { button, h, replace, toast } from "../js/dom.js";
import { afterwards, jobEnd, jobFailure, jobProgress } from "../js/jobs.js";
import { state } from "../js/state.js";

const MINUTES = [2, 5, 10, 20, 60];

/** @param {string} id of the camera @param {AbortSignal} signal */
export function enrolPanel(id, signal) {
  const body = h("div", { class: "panel-body" });
  const ready = (said) =>
    replace(
      body,
      form(id, said, (job) => follow(job)),
    );
  const follow = async (job) => {
    const progress = jobProgress();
    const meter = coverageMeter();
    replace(body, progress.node, meter.node);
    const done = await jobEnd(job, (seen) => (progress.see(seen), meter.see(seen.progress?.coverage)), signal);
    if (done.state === "done") toast(`The enrolment of ${id} is done`);
    ready(done.state === "done" ? doneText(done.result) : jobFailure(done));
    state.loadCameras().catch(() => undefined);
  };
  ready("");
  running(id, signal).then(
    (job) => job && follow(job),
    () => undefined,
  );
  return h("section", { class: "panel" }, h("h2", null, "Enrolment"), body);
}

async function running(id, signal) {
  const { jobs } = await get(url`jobs`, {}, signal);
  return jobs.find((job) => job.kind === "enroll" && job.camera === id && job.state === "running");
}

function form(id, said, started) {
  const camera = state.cameras.get(id);
  const minutes = h(
    "select",
    { name: "minutes" },
    MINUTES.map((count) => h("option", { value: count, selected: count === 10 }, `${count} min`)),
  );
  const scenes = (camera?.scenes ?? []).map((each) => (typeof each === "string" ? each : each.scene));
  const scene = h(
    "select",
    { name: "scene" },
    scenes.map((name) => h("option", { value: name, selected: name === camera.scene }, name)),
  );
  const start = button(
    "Start the enrolment",
    async () => {
      start.disabled = true;
      try {
        started(
          (
            await post(url`cameras/${id}/enroll`, {
              seconds: Number(minutes.value) * 60,
              ...(scenes.length > 1 ? { scene: scene.value } : {}),
            })
          ).job,
        );
      } catch (error) {
        start.disabled = false;
        toast(error.message, "bad");
      }
    },
    { class: "button" },
  );
  return [
    said ? h("p", { class: "lead", role: "status" }, said) : null,
    h(
      "p",
      { class: "hint" },
      "Everything that the camera sees meanwhile counts as normal. Choose a time without anything odd.",
    ),
    h(
      "div",
      { class: "fields" },
      h("label", { class: "field" }, h("span", null, "For"), minutes),
      scenes.length > 1 ? h("label", { class: "field" }, h("span", null, "Scene"), scene) : null,
    ),
    h("div", { class: "buttons" }, start),
  ];
}

const doneText = (result) =>
  [
    `Done${result?.version ? `: version ${result.version}` : ""}${result?.frames ? `, ${result.frames} frames` : ""}.`,
    ...afterwards(result),
  ].join(" ");

/** How much of what comes is known by now. */
function coverageMeter() {
  const bar = h("div", { class: "meter-fill" });
  const text = h("p", { class: "number", role: "status" }, "Coverage: too early to say");
  const node = h(
    "div",
    { class: "coverage", hidden: true },
    text,
    h("div", { class: "meter", "aria-hidden": "true" }, bar),
    h(
      "p",
      { class: "hint" },
      "Coverage is the part of the last minute that looked like something seen before. From 95 % on new footage adds little.",
    ),
  );
  const see = (coverage) => {
    const value = typeof coverage === "number" ? coverage : coverage?.value;
    node.hidden = false;
    if (typeof value !== "number") return;
    bar.style.setProperty("--part", String(value));
    text.textContent = `Coverage: ${Math.round(value * 100)} %`;
  };
  return { node, see };
}
