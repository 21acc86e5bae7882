// "This is normal": choose what, see what it would have silenced, only then add it; and undo.
import { get, post, url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";
import { afterwards, countOf, jobEnd, jobProgress, resultOf } from "../js/jobs.js";
import { link } from "../js/router.js";
import { counted, reviewWord, times } from "../js/words.js";

/**
 * @param {any} alert
 * @param {import("./alert_picture.js").AlertPicture} picture
 * @param {{ signal: AbortSignal, close: () => void, changed: (news: any) => void }} how
 */
export function normalPanel(alert, picture, how) {
  const body = h("div", { class: "normal-body" });
  const choice = new Choice(alert, picture);
  const steps = { body, choice, alert, how, regions: null, seen: picture.seen };
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
    const regions = picture.shown; // of the picture that one chooses in
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
    const { job } = await post(url`alerts/${alert.alert_id}/normal`, {
      regions,
      dry_run: dryRun,
      ...(regions ? { seen: steps.seen } : {}),
    });
    const result = resultOf(await jobEnd(job, progress.see, how.signal));
    (dryRun ? showDryRun : showDone)(steps, result);
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
  const [count, stay] = [countOf(result, "silenced"), countOf(result, "kept")];
  const real = result.silenced_real_count ?? silenced.filter((one) => one.real).length;
  const confirm = button("Add it to the gallery", () => run(steps, false), { class: "button primary" });
  replace(
    steps.body,
    h(
      "div",
      { class: "dry-run", role: "status" },
      h(
        "p",
        { class: "lead" },
        count
          ? `It would have silenced ${counted(count, "alert")} of the last 30 days, and kept ${stay}.`
          : `It would have silenced no alert of the last 30 days (${stay} stay).`,
      ),
      real
        ? h("p", { class: "problem" }, `${counted(real, "alert")} among them that somebody called real would not come any more.`)
        : null,
      result.already_silent
        ? h("p", { class: "hint" }, `${counted(result.already_silent, "alert")} would not come today even without it: sensitivity or zones have changed since.`)
        : null,
      result.not_rescored
        ? h(
            "p",
            { class: "hint" },
            `Of ${counted(result.not_rescored, "alert")} it cannot be told: what is kept of them does not say enough.`,
          )
        : null,
      result.left_out
        ? h(
            "p",
            { class: "hint" },
            `${counted(result.left_out, "frame")} of this alert show another scene of the camera and are left out.`,
          )
        : null,
      listing("Silenced", silenced, count, true),
      listing("Still alerts", kept, stay, false),
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

/** In tabs of their own, so that what was worked out here stays; a tab that is not seen costs the server nothing. */
function listing(title, alerts, count, open) {
  if (!alerts.length) return null;
  return h(
    "details",
    { open },
    h("summary", null, `${title} (${count > alerts.length ? `${alerts.length} of ${count}` : count})`),
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
  how.changed(result.review_problem ? {} : { review: "normal" });
  replace(
    body,
    h(
      "p",
      { class: "lead", role: "status" },
      `The gallery of ${result.scene} is now version `,
      h("strong", { class: "number" }, result.version ?? "–"),
      `. Before it was ${result.from}.`,
    ),
    afterwards(result).map((each) => h("p", { class: "problem", role: "alert" }, each)),
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
    const used = resultOf(await jobEnd(job, progress.see, how.signal));
    const review = await takeBack(alert, how);
    replace(
      body,
      h("p", { class: "lead", role: "status" }, `Undone: version ${result.from} is in force again, and ${review}.`),
      afterwards(used).map((each) => h("p", { class: "problem", role: "alert" }, each)),
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

/** Takes the review back where it still says "normal". In words: what it is then. */
async function takeBack(alert, how) {
  const now = await get(url`alerts/${alert.alert_id}`, {}, how.signal);
  how.changed(now);
  if (now.review === "open") return "the alert is not reviewed";
  if (now.review !== "normal") return `the alert stays as ${now.reviewed_by} reviewed it: ${reviewWord(now.review)}`;
  const { review, reviewed_at } = now;
  const expected = { review, reviewed_at };
  how.changed(await post(url`alerts/${alert.alert_id}/review`, { verdict: "open", note: "", expected }));
  return "the alert is not reviewed";
}
