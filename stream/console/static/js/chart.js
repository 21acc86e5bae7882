// The chart of a camera's scores: a band from the lowest to the highest, the threshold, what was not scored, what
// state the camera was in, and its alerts. In thresholds, so that all cameras read alike.
import { h, replace, s, setText } from "./dom.js";
import { link } from "./router.js";
import { Scale, gaps, path, ticks } from "./chart_parts.js";
import { localTime, utcTime } from "./time.js";
import { counted, onItsNode, stateWord, times } from "./words.js";

const HEIGHT = 220;
const EDGES = { left: 44, right: 10, top: 22, bottom: 34 };
let patterns = 0; // ids of hatchings differ within a page

export class ScoreChart {
  #data = null;
  #points = 600;
  #width = 0;
  #here;
  #place = h("div", { class: "chart-place" });
  #readout = h("p", { class: "chart-readout number" }, "\u00a0");
  #hatch = `hatch-${++patterns}`;
  #cursor = s("line", { class: "cursor", visibility: "hidden" });

  /** @param {{ here?: string, signal: AbortSignal }} how here: the alert whose page this is */
  constructor({ here = "", signal }) {
    this.#here = here;
    this.node = h("div", { class: "chart" }, this.#place, this.#readout);
    const watcher = new ResizeObserver(() => this.#resized());
    watcher.observe(this.#place);
    signal.addEventListener("abort", () => watcher.disconnect());
    replace(this.#place, h("p", { class: "muted chart-note" }, "Loading the scores"));
  }

  /** @param {any} data as /cameras/ID/scores gives it @param {number} points that were asked for */
  show(data, points) {
    [this.#data, this.#points] = [data, points];
    this.#draw();
  }

  /** @param {Error} error */
  fail(error) {
    if (error.name !== "AbortError")
      replace(this.#place, h("p", { class: "problem chart-note", role: "alert" }, error.message));
  }

  #resized() {
    const width = Math.round(this.#place.clientWidth);
    if (width === this.#width) return;
    this.#width = width;
    if (this.#data) this.#draw();
  }

  #draw() {
    const data = this.#data;
    this.#width = Math.round(this.#place.clientWidth) || 600;
    const unit = data.threshold || data.buckets.find((each) => each.threshold)?.threshold || 1;
    const scored = data.buckets.filter((each) => each.max !== null && each.max !== undefined);
    const nothing = onItsNode(data.node, "Scores", "Nothing was scored in this time.");
    const scale = new Scale(data, this.#width, HEIGHT, EDGES, unit, scored);
    const picture = s(
      "svg",
      {
        width: this.#width,
        height: HEIGHT,
        viewBox: `0 0 ${this.#width} ${HEIGHT}`,
        role: "group",
        "aria-label": this.#inWords(scored, unit),
      },
      this.#pattern(),
      axes(scale),
      data.node && !scored.length ? null : this.#gaps(scale, scored), // what lies elsewhere is no gap
      alertSpans(scale, data.alerts),
      bands(scale, scored),
      threshold(scale, data, unit),
      states(scale, data),
      this.#alerts(scale),
      this.#cursor,
    );
    picture.addEventListener("pointermove", (event) => this.#point(event, scale, scored, unit));
    picture.addEventListener("pointerleave", () => this.#leave());
    replace(
      this.#place,
      picture,
      scored.length ? null : h("p", { class: "muted chart-note over" }, nothing),
    );
    this.#leave();
  }

  #inWords(scored, unit) {
    const top = scored.reduce((best, each) => (each.max > (best?.max ?? -1) ? each : best), null);
    const peak = top ? `highest ${times(top.max / unit)} threshold at ${localTime(top.t)}` : "nothing scored";
    return `Scores from ${localTime(this.#data.from)} to ${localTime(this.#data.to)}: ${peak}, ${counted(this.#data.alerts.length, "alert")}`;
  }

  #pattern() {
    return s(
      "defs",
      null,
      s(
        "pattern",
        { id: this.#hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        s("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" }),
      ),
    );
  }

  #gaps(scale, scored) {
    return gaps(this.#data, scored, this.#points).map(([from, to]) => {
      const left = scale.x(from);
      return s(
        "rect",
        {
          x: left,
          y: EDGES.top,
          width: Math.max(1, scale.x(to) - left),
          height: scale.bottom - EDGES.top,
          fill: `url(#${this.#hatch})`,
        },
        s("title", null, "Not scored"),
      );
    });
  }

  #alerts(scale) {
    return this.#data.alerts.map((alert) => {
      const x = Math.max(scale.left, scale.x(Date.parse(alert.started_at)));
      const isHere = alert.alert_id === this.#here;
      const label = `Alert at ${localTime(alert.started_at)}`;
      return s(
        "a",
        { href: link`alerts/${alert.alert_id}`, class: `mark${isHere ? " here" : ""}`, "aria-label": label },
        s("title", null, label),
        s("rect", { x: x - 12, y: 0, width: 24, height: EDGES.top, fill: "transparent" }),
        s("path", { d: `M${x - 6} 4h12l-6 11z` }),
      );
    });
  }

  #point(event, scale, scored, unit) {
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left;
    const time = scale.time(x);
    const nearest = scored.reduce(
      (best, each) => (Math.abs(Date.parse(each.t) - time) < Math.abs(Date.parse(best?.t ?? 0) - time) ? each : best),
      null,
    );
    if (!nearest || Math.abs(scale.x(Date.parse(nearest.t)) - x) > 12) return this.#leave("Not scored");
    const at = scale.x(Date.parse(nearest.t));
    Object.entries({ x1: at, x2: at, y1: EDGES.top, y2: scale.bottom, visibility: "visible" }).forEach(([key, value]) =>
      this.#cursor.setAttribute(key, value),
    );
    setText(
      this.#readout,
      `${localTime(nearest.t)}: ${times(nearest.min / unit)} to ${times(nearest.max / unit)} threshold`,
    );
    this.#readout.title = utcTime(nearest.t);
  }

  #leave(
    text = "The band goes from the lowest to the highest score; hatched: not scored. A triangle opens its alert.",
  ) {
    this.#cursor.setAttribute("visibility", "hidden");
    setText(this.#readout, text);
  }
}

function axes(scale) {
  const rows = scale
    .rows()
    .map((value) => [
      s("line", { x1: scale.left, x2: scale.right, y1: scale.y(value), y2: scale.y(value), class: "gridline" }),
      s("text", { x: scale.left - 6, y: scale.y(value) + 4, "text-anchor": "end" }, `${value}×`),
    ]);
  const columns = ticks(scale).map(([time, text]) => [
    s("line", { x1: scale.x(time), x2: scale.x(time), y1: scale.bottom, y2: scale.bottom + 4, class: "gridline" }),
    s("text", { x: scale.x(time), y: scale.height - 4, "text-anchor": "middle" }, text),
  ]);
  return s("g", { class: "axes", "aria-hidden": "true" }, rows, columns);
}

function bands(scale, scored) {
  const runs = scale.runs(scored);
  return runs.map((run) =>
    s(
      "g",
      null,
      s("path", { class: "band", d: path(scale, run, "band") }),
      s("path", { class: "mean", d: path(scale, run, "mean") }),
    ),
  );
}

function threshold(scale, data, unit) {
  const known = data.buckets.filter((each) => each.threshold);
  const steps = known.length ? known.map((each) => [Date.parse(each.t), each.threshold]) : [[scale.from, unit]];
  const line = steps
    .map(([time, value], index) =>
      index ? `H${scale.x(time)}V${scale.y(value / unit)}` : `M${scale.left} ${scale.y(value / unit)}`,
    )
    .join("");
  return s("path", { class: "threshold", d: `${line}H${scale.right}` });
}

function alertSpans(scale, alerts) {
  return alerts.map(({ started_at: from, ended_at: to }) => {
    const left = Math.max(scale.left, scale.x(Date.parse(from)));
    const right = Math.min(scale.right, to ? scale.x(Date.parse(to)) : scale.right);
    return s("rect", {
      class: "alert-span",
      x: left,
      y: EDGES.top,
      width: Math.max(2, right - left),
      height: scale.bottom - EDGES.top,
    });
  });
}

/** A strip under the chart: which state the camera was in. */
function states(scale, data) {
  const events = data.events ?? [];
  return s(
    "g",
    null,
    events.map((event, index) => {
      const left = Math.max(scale.left, scale.x(Date.parse(event.t)));
      const right = index + 1 < events.length ? scale.x(Date.parse(events[index + 1].t)) : scale.right;
      return s(
        "rect",
        {
          class: event.state === "LIVE" ? "state good" : "state bad",
          x: left,
          y: scale.bottom + 6,
          width: Math.max(2, right - left),
          height: 6,
        },
        s(
          "title",
          null,
          `${stateWord(event.state)}${event.reason ? `: ${event.reason}` : ""}, from ${localTime(event.t)}`,
        ),
      );
    }),
  );
}
