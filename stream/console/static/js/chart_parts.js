// The arithmetic of the score chart: where a time and a strength stand, where nothing was scored, which labels fit.
import { axisTime } from "./time.js";

const LEAST_TOP = 1.6; // thresholds: the line stands at the same height while nothing is far above it
const LABEL_ROOM = 56; // px between two labels of the time axis
const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800]; // seconds between labels

export class Scale {
  constructor(data, width, height, edges, unit, scored) {
    Object.assign(this, {
      unit,
      height,
      left: edges.left,
      right: width - edges.right,
      bottom: height - edges.bottom,
      top: edges.top,
    });
    this.from = Date.parse(data.from);
    this.to = Date.parse(data.to);
    this.most = Math.max(LEAST_TOP, ...scored.map((each) => each.max / unit)) * 1.05;
    this.apart = usualGap(scored);
  }

  x(time) {
    return this.left + ((time - this.from) / (this.to - this.from || 1)) * (this.right - this.left);
  }

  y(strength) {
    return this.bottom - (strength / this.most) * (this.bottom - this.top);
  }

  time(x) {
    return this.from + ((x - this.left) / (this.right - this.left)) * (this.to - this.from);
  }

  /** Strengths that get a line: always 1, where the threshold in force stands. */
  rows() {
    const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((each) => this.most / each <= 5) ?? 200;
    const all = Array.from({ length: Math.floor(this.most / step) + 1 }, (_, index) => index * step);
    return step > 1 ? [1, ...all.filter((value) => value > 1)] : all;
  }

  /** Cuts the buckets where the time between two of them is a gap. */
  runs(scored) {
    const runs = [];
    scored.forEach((each, index) => {
      const isNew = index === 0 || Date.parse(each.t) - Date.parse(scored[index - 1].t) > this.apart * 3;
      if (isNew) runs.push([]);
      runs.at(-1).push(each);
    });
    return runs;
  }
}

/** ms between two buckets with scores, usually: the median. A slow method has fewer frames than buckets. */
function usualGap(scored) {
  const all = scored
    .slice(1)
    .map((each, index) => Date.parse(each.t) - Date.parse(scored[index].t))
    .sort((one, other) => one - other);
  return all[Math.floor(all.length / 2)] ?? 60e3;
}

/** Times without scores, as [from, to] in ms. @param {any} data @param {any[]} scored @param {number} points */
export function gaps(data, scored, points) {
  const bucket = (Date.parse(data.to) - Date.parse(data.from)) / points;
  const limit = Math.max(usualGap(scored) * 3, bucket * 2);
  const edges = [Date.parse(data.from) - bucket, ...scored.map((each) => Date.parse(each.t)), Date.parse(data.to)];
  const found = edges.slice(1).map((end, index) => [edges[index] + bucket, end]);
  return found.filter(([from, to]) => to - from + bucket > limit);
}

/** The `d` of a run: its band from min to max, or the line of its means. */
export function path(scale, run, kind) {
  const at = (each) => scale.x(Date.parse(each.t)).toFixed(1);
  const line = (key, all) =>
    all.map((each) => `${at(each)} ${scale.y((each[key] ?? each.max) / scale.unit).toFixed(1)}`).join("L");
  if (kind === "mean") return `M${line("mean", run)}`;
  const right = run.length === 1 ? `h1` : ""; // a single bucket is still to be seen
  return `M${line("max", run)}${right}L${line("min", [...run].reverse())}Z`;
}

/** Labels of the time axis, at round local times. @returns {[number, string][]} */
export function ticks(scale) {
  const seconds = (scale.to - scale.from) / 1000;
  const fit = Math.max(2, Math.floor((scale.right - scale.left) / LABEL_ROOM));
  const step = (STEPS.find((each) => seconds / each <= fit) ?? 604800) * 1000;
  const zone = new Date(scale.from).getTimezoneOffset() * 60e3;
  const first = Math.ceil((scale.from - zone) / step) * step + zone;
  const found = [];
  for (let time = first; time <= scale.to; time += step) found.push([time, axisTime(time, step >= 86400e3)]);
  return found.filter(([time]) => scale.x(time) > scale.left + 16 && scale.x(time) < scale.right - 16);
}
