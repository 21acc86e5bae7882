// The sensitivity as a budget of false alarms: how many alerts the stored scores would have given.
import { get, put, url } from "../js/api.js";
import { button, h, replace, s, setText, toast } from "../js/dom.js";
import { onceLookedAt } from "../js/looked_at.js";
import { state } from "../js/state.js";
import { span } from "../js/time.js";
import { counted, onItsNode } from "../js/words.js";

const DAYS = [1, 7, 30]; // counting a week of scores is work for the server: one day unless asked for more
const WIDTH = 320;
const HEIGHT = 84;
const SAME = 0.03; // of the logarithm of a factor: the points of a curve lie 0.14 apart
const LEAST_DAYS = 0.5; // of scores, below which a number a day would be a guess

/** @param {string} id of the camera @param {AbortSignal} signal */
export function sensitivityPanel(id, signal) {
  const body = h("div", { class: "panel-body" });
  const days = h(
    "select",
    { "aria-label": "Days of scores", onchange: () => load() },
    DAYS.map((count) => h("option", { value: count }, counted(count, "day"))),
  );
  const week = () => ((days.value = "7"), load());
  const more = () => (days.value === "1" ? button("Look at the last 7 days", week) : null);
  let asked = new AbortController();
  signal.addEventListener("abort", () => asked.abort());
  const load = async () => {
    asked.abort(); // of another time, or not asked yet
    asked = new AbortController();
    const { signal: mine } = asked;
    replace(body, h("p", { class: "muted" }, "Counting alerts on the stored scores"));
    try {
      const budget = await get(url`cameras/${id}/budget`, { days: days.value }, mine);
      replace(body, budget.curve.length ? slider(id, budget, load) : empty(id, budget), isLittle(budget) ? more() : null);
    } catch (error) {
      if (mine.aborted) return;
      replace(body, h("p", { class: "problem", role: "alert" }, failed(error)), button("Try again", load));
    }
  };
  replace(body, h("p", { class: "muted" }, "The stored scores are counted once you look at this for a second."), more());
  const head = h("div", { class: "panel-head" }, h("h2", null, "Sensitivity"), days);
  const node = h("section", { class: "panel" }, head, body);
  onceLookedAt(node, load, AbortSignal.any([signal, asked.signal]));
  return node;
}

/** A busy server says so with 503. @param {any} error */
const failed = (error) =>
  error.status === 503 ? `The scores cannot be counted now: ${error.message}. Try again in a while.` : error.message;

const isLittle = (budget) => (budget.covered_days ?? 0) < LEAST_DAYS;

const command = (id) => `spade-stream operator sensitivity CONFIG --camera ${id} --factor 1.2`;

function empty(id, { node }) {
  const none = "There are no stored scores of this camera in this time. Let it run for a while first.";
  const how = node === null ? "" : ` What they would have given cannot be counted here; a factor can be set with: ${command(id)}`;
  return h("p", { class: "hint" }, `${onItsNode(node, "Scores", none)}${how}`);
}

function slider(id, budget, reload) {
  // to the right more alerts, as a volume knob: the curve goes from the highest threshold to the lowest
  const curve = [...budget.curve].sort((one, other) => other.factor - one.factor);
  const now = nearest(curve, budget.factor);
  const range = h("input", {
    type: "range",
    min: 0,
    max: curve.length - 1,
    step: 1,
    value: now,
    class: "wide",
    id: "budget",
    name: "budget",
  });
  const text = h("p", { class: "lead number", "aria-live": "polite" });
  const hint = h("p", { class: "hint number" });
  const graph = h("div", { class: "budget-graph", "aria-hidden": "true" });
  const apply = button("Apply", () => save(id, curve[Number(range.value)].factor, apply, reload), {
    class: "button primary",
  });
  const show = () => {
    const point = curve[Number(range.value)];
    setText(text, sentence(point, budget));
    setText(hint, detailOf(point, curve[now], budget));
    range.setAttribute("aria-valuetext", sentence(point, budget));
    apply.disabled = Number(range.value) === now && isInForce(curve[now], budget);
    replace(graph, picture(curve, Number(range.value), now));
  };
  range.addEventListener("input", show);
  show();
  return [
    text,
    graph,
    h("label", { class: "field" }, h("span", null, "False-alarm budget"), range),
    h("div", { class: "ends" }, h("span", null, "Fewer alerts"), h("span", null, "More alerts")),
    hint,
    isLittle(budget) ? h("p", { class: "hint" }, "This is too little to judge a day by.") : null,
    budget.damaged_rows ? h("p", { class: "hint" }, `${counted(budget.damaged_rows, "damaged row")} left out.`) : null,
    budget.not_comparable_rows ? h("p", { class: "hint" }, leftOut(budget.not_comparable_rows)) : null,
    h("div", { class: "buttons" }, apply),
  ];
}

const leftOut = (rows) =>
  `${counted(rows, "scored frame")} left out: which version of a gallery scored them cannot be told any more.`;

const nearest = (curve, factor) =>
  curve.reduce(
    (best, each, index) =>
      Math.abs(Math.log(each.factor / factor)) < Math.abs(Math.log(curve[best].factor / factor)) ? index : best,
    0,
  );

/** The curve ends where nobody could read so many alerts: what is in force may lie beyond its end. */
const isInForce = (point, budget) => Math.abs(Math.log(point.factor / budget.factor)) < SAME;

function detailOf(point, now, budget) {
  const inForce = `In force: × ${budget.factor.toFixed(2)}`;
  if (!isInForce(now, budget))
    return `Threshold × ${point.factor.toFixed(2)}. ${inForce}, with more alerts than this shows.`;
  if (isLittle(budget)) return `Threshold × ${point.factor.toFixed(2)}. ${inForce}.`;
  const [chosen, before] = [point, now].map((each) => `${each.alerts_per_day.toFixed(1)} a day`);
  return `Threshold × ${point.factor.toFixed(2)}, ${chosen}. ${inForce}, ${before}.`;
}

function sentence(point, budget) {
  const covered = budget.covered_days ?? budget.days;
  const time = covered < 1.5 ? span(covered * 86400) : `${Math.round(covered)} days`;
  const real = point.real ?? budget.confirmed_real;
  const said =
    real === null || real === undefined
      ? ""
      : point.real === undefined
        ? `; in this time you called ${real} real`
        : `, of which you called ${real} real`;
  return `${counted(point.alerts, "alert")} in the last ${time}${said}`;
}

/** Alerts a day against the threshold, with what is chosen and what is in force. */
function picture(curve, chosen, now) {
  const most = Math.max(1, ...curve.map((each) => each.alerts_per_day));
  const x = (index) => 6 + (index / Math.max(1, curve.length - 1)) * (WIDTH - 12);
  const y = (index) => HEIGHT - 6 - (curve[index].alerts_per_day / most) * (HEIGHT - 14);
  const line = curve.map((_, index) => `${x(index).toFixed(1)} ${y(index).toFixed(1)}`).join("L");
  return s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" },
    s("path", { class: "band", d: `M${x(0)} ${HEIGHT - 4}L${line}L${x(curve.length - 1)} ${HEIGHT - 4}Z` }),
    s("path", { class: "mean", d: `M${line}` }),
    s("line", { class: "now", x1: x(now), x2: x(now), y1: 2, y2: HEIGHT - 4 }),
    s("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: 2, y2: HEIGHT - 4 }),
  );
}

async function save(id, factor, apply, reload) {
  apply.disabled = true;
  try {
    const { revision } = await put(url`cameras/${id}/sensitivity`, { factor, revision: state.revision });
    state.changed(revision);
    toast(`Sensitivity of ${id}: threshold × ${factor.toFixed(2)}`);
    await state.loadCameras();
    await reload();
  } catch (error) {
    apply.disabled = false;
    toast(error.message, "bad");
    if (error.status === 409) state.loadCameras().catch(() => undefined); // the next try builds on what is there now
  }
}
