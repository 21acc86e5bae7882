// "This is normal": choose what, see what it would have silenced, only then add it; and undo.
import { post, url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";
import { jobEnd, jobFailure, jobProgress } from "../js/jobs.js";
import { link } from "../js/router.js";
import { counted, times } from "../js/words.js";

/**
 * @param {any} alert
 * @param {import("./alert_picture.js").AlertPicture} picture
 * @param {{ signal: AbortSignal, close: () => void, changed: (news: any) => void }} how
 */
export function normalPanel(alert, picture, how) {
  const body = h("div", { class: "normal-body" });
  const choice = new Choice(alert, picture);
  const steps = { body, choice, alert, how, regions: null };
  choice.onChange = () => ask(steps); // what was shown belongs to another choice
  picture.choosable(() => choice.fromPicture());
  ask(steps);
  return h(
    "section",
    { class: "panel normal-panel", "aria-labelledby": "normal-title" },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "normal-title" }, "This is normal"),
      button("Close", how.close, { class: "button quiet small" }),
    ),
    choice.node,
    body,
  );
}

/** The whole frame, or some of its regions; by click in the picture or by these boxes. */
class Choice {
  onChange = () => {};
  #boxes;
  #whole;

  constructor(alert, picture) {
    this.picture = picture;
    const regions = alert.regions ?? [];
    this.#whole = h("input", { type: "checkbox", checked: true, onchange: () => this.#fromWhole() });
    this.#boxes = regions.map((_, index) =>
      h("input", { type: "checkbox", onchange: () => this.picture.regions.toggle(index) }),
    );
    picture.regions.chosen.clear();
    this.node = h(
      "fieldset",
      { class: "choice" },
      h("legend", null, "What is normal?"),
      h("label", null, this.#whole, "The whole frame"),
      this.#boxes.map((box, index) => h("label", null, box, `Region ${index + 1}`)),
      regions.length ? h("p", { class: "hint" }, "Or click the regions in the picture.") : null,
    );
  }

  /** null = the whole frame @returns {number[]|null} */
  get regions() {
    const chosen = [...this.picture.regions.chosen].sort((one, other) => one - other);
    return chosen.length ? chosen : null;
  }

  fromPicture() {
    this.#whole.checked = this.regions === null;
    this.#boxes.forEach((box, index) => (box.checked = this.picture.regions.chosen.has(index)));
    this.onChange();
  }

  #fromWhole() {
    for (const index of [...this.picture.regions.chosen]) this.picture.regions.toggle(index);
    this.fromPicture();
  }

  set disabled(value) {
    this.node.disabled = value;
  }
}

function ask(steps) {
  replace(
    steps.body,
    h(
      "p",
      { class: "hint" },
      "First the stored frames are scored again, to show which alerts of the last 30 days would not have come. Nothing changes by that.",
    ),
    button("Show what it would silence", () => run(steps, true), { class: "button primary" }),
  );
}

async function run(steps, dryRun) {
  const { body, choice, alert, how } = steps;
  const progress = jobProgress();
  const regions = dryRun ? (steps.regions = choice.regions) : steps.regions; // what was shown is what is added
  choice.disabled = true;
  replace(
    body,
    h("p", null, dryRun ? "Scoring the stored frames again. Nothing is changed." : "Adding it to the gallery."),
    progress.node,
  );
  try {
    const { job } = await post(url`alerts/${alert.alert_id}/normal`, { regions, dry_run: dryRun });
    const done = await jobEnd(job, progress.see, how.signal);
    if (done.state !== "done") throw new Error(jobFailure(done));
    (dryRun ? showDryRun : showDone)(steps, done.result);
  } catch (error) {
    choice.disabled = false;
    replace(
      body,
      h("p", { class: "problem", role: "alert" }, error.message),
      button("Back", () => ask(steps)),
    );
  }
}

function showDryRun(steps, result) {
  const { silenced = [], kept = [] } = result;
  const real = silenced.filter((one) => one.real).length;
  const confirm = button("Add it to the gallery", () => run(steps, false), { class: "button primary" });
  replace(
    steps.body,
    h(
      "div",
      { class: "dry-run", role: "status" },
      h(
        "p",
        { class: "lead" },
        silenced.length
          ? `It would have silenced ${counted(silenced.length, "alert")} of the last 30 days, and kept ${kept.length}.`
          : `It would have silenced no alert of the last 30 days (${kept.length} stay).`,
      ),
      real
        ? h("p", { class: "problem" }, `${counted(real, "alert")} among them that somebody called real would not come any more.`)
        : null,
      result.not_rescored
        ? h(
            "p",
            { class: "hint" },
            `Of ${counted(result.not_rescored, "alert")} it cannot be told: what is kept of them does not say enough.`,
          )
        : null,
      listing("Silenced", silenced, true),
      listing("Still alerts", kept, false),
    ),
    h(
      "div",
      { class: "buttons" },
      confirm,
      button("Cancel", () => ((steps.choice.disabled = false), ask(steps))),
    ),
  );
  if (!real) confirm.focus({ preventScroll: true }); // what would silence a real one takes more than a key
}

function listing(title, alerts, open) {
  if (!alerts.length) return null;
  return h(
    "details",
    { open },
    h("summary", null, `${title} (${alerts.length})`),
    h(
      "ul",
      { class: "rescored" },
      alerts.map(({ alert_id: id, before, after, real }) =>
        h(
          "li",
          null,
          h("a", { href: link`alerts/${id}`, target: "_blank", rel: "noopener" }, id),
          real ? h("strong", null, " called real ") : null,
          h("span", { class: "number" }, `${times(before)} → ${times(after)}`),
        ),
      ),
    ),
  );
}

function showDone(steps, result) {
  const { body, how } = steps;
  how.changed({ review: "normal" });
  replace(
    body,
    h(
      "p",
      { class: "lead", role: "status" },
      `The gallery of ${result.scene} is now version `,
      h("strong", { class: "number" }, result.version ?? "–"),
      `. Before it was ${result.from}.`,
    ),
    result.worker_problem ? h("p", { class: "problem" }, `Not in force yet: ${result.worker_problem}.`) : null,
    h(
      "div",
      { class: "buttons" },
      button("Undo", () => undo(steps, result)),
      button("Close", how.close, { class: "button quiet" }),
    ),
  );
}

async function undo({ body, alert, how }, result) {
  const progress = jobProgress();
  replace(body, h("p", null, `Putting ${result.from} back in force.`), progress.node);
  try {
    const { job } = await post(url`galleries/${result.scene}/use`, { version: result.from });
    const done = await jobEnd(job, progress.see, how.signal);
    if (done.state !== "done") throw new Error(jobFailure(done));
    how.changed(await post(url`alerts/${alert.alert_id}/review`, { verdict: "open", note: "" }));
    replace(
      body,
      h(
        "p",
        { class: "lead", role: "status" },
        `Undone: version ${result.from} is in force again, and the alert is not reviewed.`,
      ),
      button("Close", how.close),
    );
  } catch (error) {
    replace(
      body,
      h("p", { class: "problem", role: "alert" }, error.message),
      button("Try again", () => undo({ body, alert, how }, result)),
    );
  }
}
