// Parts of an alert's page that only show: why it fired, what is normal there, scores around it, its history.
import { get, url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";
import { ScoreChart } from "../js/chart.js";
import { span, timeNode, serverNow } from "../js/time.js";
import { actionWord, channelWord, reviewWord, strengthBar } from "../js/words.js";

const AROUND = 300e3; // ms of scores before and after an alert
const POINTS = 400;

/** @param {any} alert */
export function whyPanel(alert) {
  const channels = Object.entries(alert.why ?? {}).sort(([, one], [, other]) => other - one);
  const rows = channels.map(([name, strength]) => {
    const bar = strengthBar();
    bar.set(strength);
    return h("li", null, h("span", null, channelWord(name)), bar.node);
  });
  const text = rows.length
    ? "How strong each channel was at the peak. The line is the threshold."
    : "This alert does not say which channel it came from.";
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Why it fired"),
    h("p", { class: "hint" }, text),
    h("ul", { class: "why" }, rows),
  );
}

/** The nearest normal frames, one at a time. @param {any} alert */
export function neighbourPanel(alert) {
  const all = alert.neighbours ?? [];
  const place = h("div", { class: "neighbour" });
  const tabs = h("div", { class: "segmented", role: "group", "aria-label": "Which of the nearest normal frames" });
  const show = (at) => {
    replace(
      tabs,
      (all.length > 1 ? all : []).map((_, index) =>
        button(String(index + 1), () => show(index), {
          class: "segment",
          "aria-pressed": String(index === at),
          "aria-label": `Nearest normal frame ${index + 1}`,
        }),
      ),
    );
    replace(place, neighbour(all[at]));
  };
  const withPicture = all.findIndex((each) => each.thumbnail);
  if (all.length) show(Math.max(0, withPicture));
  return h(
    "section",
    { class: "panel neighbour-panel" },
    h("div", { class: "panel-head" }, h("h2", null, "Nearest normal frames"), tabs),
    all.length ? place : h("p", { class: "hint" }, "No frame of the gallery was compared with this one."),
  );
}

function neighbour({ thumbnail, source, media_time: time, distance, index }) {
  const safe = typeof thumbnail === "string" && thumbnail.startsWith("/"); // our own server's, never another place
  return [
    h(
      "div",
      { class: "neighbour-picture" },
      safe ? normalPicture(thumbnail) : h("p", { class: "gone" }, "The gallery keeps no picture of this frame."),
    ),
    h(
      "p",
      { class: "hint number" },
      `Frame ${index} of the gallery, ${span(time)} into ${source}; distance ${distance.toFixed(3)}`,
    ),
  ];
}

/** The gallery may have lost it since. */
function normalPicture(address) {
  const gone = () => image.replaceWith(h("p", { class: "gone" }, "The gallery keeps no picture of this frame."));
  const image = h("img", { src: address, alt: "A normal frame of this scene", onerror: gone });
  return image;
}

/** @param {any} alert @param {AbortSignal} signal */
export function chartAround(alert, signal) {
  const chart = new ScoreChart({ here: alert.alert_id, signal });
  const from = new Date(Date.parse(alert.started_at) - AROUND).toISOString();
  const end = Math.min((alert.ended_at ? Date.parse(alert.ended_at) : serverNow()) + AROUND, serverNow());
  const to = new Date(end).toISOString();
  get(url`cameras/${alert.camera}/scores`, { from, to, points: POINTS }, signal).then(
    (data) => chart.show(data, POINTS),
    (error) => chart.fail(error),
  );
  return h("section", { class: "panel around" }, h("h2", null, "Scores around it"), chart.node);
}

/** @param {any[]} entries of the audit trail, newest first or last: shown as they come */
export function historyList(entries) {
  if (!entries?.length) return h("p", { class: "hint" }, "Nobody has done anything with it yet.");
  return h(
    "ul",
    { class: "history" },
    entries.map((entry) =>
      h(
        "li",
        null,
        h("span", null, h("strong", null, entry.user), ` ${actionWord(entry.action)}`, detail(entry.detail)),
        timeNode(entry.at),
      ),
    ),
  );
}

/** What stands behind an audit entry, in a few words. @param {Record<string, any>} found */
export function detail(found) {
  const { before, after, ...rest } = found ?? {};
  const words = Object.entries(rest).filter(
    ([, value]) => value !== null && value !== "" && value !== false && typeof value !== "object",
  );
  const change = isPlain(before) && isPlain(after) ? [`${plain(before)} → ${plain(after)}`] : [];
  const named = words.map(([key, value]) => `${key.replaceAll("_", " ")} ${plain(value)}`);
  const all = [...change, ...named];
  return all.length ? `: ${all.join(", ")}` : "";
}

const isPlain = (value) => value !== null && value !== undefined && typeof value !== "object";

const plain = (value) =>
  typeof value === "number" ? String(Math.round(value * 1000) / 1000) : reviewWord(value).toLowerCase();
