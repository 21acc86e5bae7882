// The versions of a scene's gallery: which one is in force, undo and redo; and what drift following has collected.
import { get, post, url } from "../js/api.js";
import { button, h, replace, toast } from "../js/dom.js";
import { afterwards, jobEnd, jobProgress, resultOf } from "../js/jobs.js";
import { state } from "../js/state.js";
import { timeNode } from "../js/time.js";
import { counted } from "../js/words.js";

/** @param {string} id of the camera @param {AbortSignal} signal */
export function galleryPanel(id, signal) {
  const versions = h("div", { class: "panel-body" });
  const drift = h("div", { class: "panel-body" });
  const scene = () => state.cameras.get(id)?.scene;
  const load = async () => {
    try {
      const gallery = await get(url`galleries/${scene()}`, {}, signal);
      replace(
        versions,
        table(gallery, (version) => use(scene(), version, versions, signal, load)),
      );
    } catch (error) {
      if (error.name !== "AbortError") replace(versions, h("p", { class: "hint" }, error.message));
    }
    const found = await get(url`galleries/${scene()}/follow`, {}, signal).catch(() => null);
    replace(drift, found?.candidates ? followForm(scene(), found, drift, signal, load) : null);
  };
  load();
  let known = null;
  state.addEventListener(
    "cameras",
    () => {
      const version = `${scene()} ${state.cameras.get(id)?.gallery?.version}`;
      if (known !== null && version !== known) load();
      known = version;
    },
    { signal },
  );
  return h("section", { class: "panel" }, h("h2", null, "Gallery"), versions, drift);
}

function table(gallery, useVersion) {
  if (!gallery.versions?.length) return h("p", { class: "hint" }, "There is no gallery of this scene. Enrol it first.");
  const rows = [...gallery.versions].reverse().map((each) =>
    h(
      "tr",
      { class: each.in_force ? "in-force" : null },
      h("th", { scope: "row", class: "number" }, each.version),
      h("td", null, timeNode(each.made)),
      h("td", { class: "number right" }, each.frames?.toLocaleString() ?? "–"),
      h("td", { class: "wrap" }, each.fault ? h("span", { class: "problem" }, each.fault) : noteText(each.note)),
      h(
        "td",
        { class: "right" },
        each.in_force
          ? h("span", { class: "chip good" }, "In force")
          : each.fault
            ? null
            : button("Use", () => useVersion(each.version), {
                class: "button small",
                "aria-label": `Use version ${each.version}`,
              }),
      ),
    ),
  );
  return h(
    "div",
    { class: "scroll-x" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["Version", "Made", "Frames", "Note", ""].map((text) => h("th", { scope: "col" }, text)),
        ),
      ),
      h("tbody", null, rows),
    ),
  );
}

const KNOWN = new Set(["made", "scene", "camera", "capacity"]); // stand beside it already, or say nothing here

/** A manifest's note is an object of what made it; here its texts will do. */
function noteText(note) {
  if (!note) return "";
  if (typeof note === "string") return note;
  return Object.entries(note)
    .filter(([key, value]) => !KNOWN.has(key) && (typeof value === "string" || typeof value === "number"))
    .map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`)
    .join(", ");
}

async function use(scene, version, place, signal, reload) {
  const progress = jobProgress();
  place.prepend(progress.node);
  try {
    const { job } = await post(url`galleries/${scene}/use`, { version });
    const problem = resultOf(await jobEnd(job, progress.see, signal)).worker_problem;
    toast(
      problem
        ? `Version ${version} is chosen, but not in force: ${problem}`
        : `Version ${version} of ${scene} is in force`,
    );
  } catch (error) {
    toast(error.message, "bad");
  }
  await reload();
}

function followForm(scene, found, place, signal, reload) {
  const start = (dryRun) => follow(scene, dryRun, place, signal, reload, found);
  return [
    h("h3", null, "Slow drift"),
    h(
      "p",
      null,
      `${counted(found.candidates, "quiet frame")} collected from `,
      timeNode(found.oldest),
      " to ",
      timeNode(found.newest),
      ".",
    ),
    h(
      "div",
      { class: "buttons" },
      button("Show what would be added", () => start(true)),
    ),
  ];
}

async function follow(scene, dryRun, place, signal, reload, found) {
  const progress = jobProgress();
  replace(place, progress.node);
  try {
    const { job } = await post(url`galleries/${scene}/follow`, { dry_run: dryRun });
    const result = resultOf(await jobEnd(job, progress.see, signal));
    const refused = (result.refused ?? []).map((each) => `${each.count} ${each.reason}`).join(", ");
    const text = `${counted(result.added, "frame")} ${dryRun ? "would be" : "were"} added${refused ? `; refused: ${refused}` : ""}.`;
    replace(
      place,
      h("p", { role: "status" }, text),
      afterwards(result).map((each) => h("p", { class: "problem" }, each)),
      dryRun && result.added
        ? button("Add them", () => follow(scene, false, place, signal, reload, found), { class: "button primary" })
        : null,
    );
    if (!dryRun) await reload();
  } catch (error) {
    replace(place, h("p", { class: "problem", role: "alert" }, error.message));
  }
}
