// One camera: what it sees, how its scores went, and what an operator may change.
import { get, url } from "../js/api.js";
import { button, h, icon, replace } from "../js/dom.js";
import { ScoreChart } from "../js/chart.js";
import { bind } from "../js/keys.js";
import { LivePicture } from "../js/live_picture.js";
import { go, link, setQuery } from "../js/router.js";
import { keepCameras, state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { serverNow, span, timeNode } from "../js/time.js";
import { stateChip, stateWord, strengthBar } from "../js/words.js";
import { enrolPanel } from "./enrol.js";
import { galleryPanel } from "./galleries.js";
import { sensitivityPanel } from "./sensitivity.js";
import { snoozePanel } from "./snooze.js";
import { heatSwitch } from "./wall.js";
import { drawZones, zonesPanel } from "./zones.js";

const RANGES = [
  ["1h", "1 h", 1],
  ["6h", "6 h", 6],
  ["1d", "1 d", 24],
  ["7d", "7 d", 168],
]; // hours
const POINTS = 600;
const REFRESH = 15000; // ms between two looks at the scores

/** @type {import("../js/router.js").Page} */
export async function cameraPage(root, { params: [id], query, signal }) {
  replace(root, h("p", { class: "loading" }, "Loading the camera"));
  await state.loadCameras(signal);
  const camera = () => state.cameras.get(id);
  if (!camera()) return void replace(root, unknown(id));
  const live = liveSection(id, signal);
  const head = h("div", { class: "page-head" });
  const facts = h("dl", { class: "facts" });
  const panels = [
    sensitivityPanel(id, signal),
    snoozePanel(id, signal),
    enrolPanel(id, signal),
    galleryPanel(id, signal),
  ];
  const show = () => {
    if (!camera()) return;
    fillHead(head, camera());
    fillFacts(facts, camera());
    live.camera(camera());
  };
  const zones = zonesPanel(id, signal);
  replace(
    root,
    head,
    h(
      "div",
      { class: "camera-top" },
      live.node,
      h("section", { class: "panel" }, h("h2", null, "Now"), live.bar.node, facts),
    ),
    chartSection(id, query, signal),
    h("div", { class: "camera-panels" }, h("div", null, panels[0], panels[2]), h("div", null, panels[1], panels[3])),
    zones,
  );
  show();
  keepCameras(signal);
  stream.watch([id]);
  state.addEventListener("cameras", show, { signal });
  stateKeys(signal, id, live);
}

function stateKeys(signal, id, live) {
  const step = (by) => () => {
    const ids = [...state.cameras.keys()];
    const next = ids[ids.indexOf(id) + by];
    if (next) go(link`camera/${next}`);
  };
  bind(signal, {
    j: ["next camera", step(1)],
    k: ["previous camera", step(-1)],
    h: ["heat on or off", live.toggleHeat],
    u: ["back to the wall", () => go("#/wall")],
  });
}

function unknown(id) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("h1", null, "There is no such camera"),
    h("p", null, `No camera ${id} is in the configuration now. Its alerts may still be there.`),
    h(
      "p",
      null,
      h("a", { href: "#/wall" }, "To the wall"),
      " · ",
      h("a", { href: `#/alerts?${new URLSearchParams({ camera: id })}` }, "Its alerts"),
    ),
  );
}

function liveSection(id, signal) {
  const picture = new LivePicture(id, { canUncover: true });
  const heat = heatSwitch();
  const bar = strengthBar();
  picture.heat = heat.on();
  heat.changed(() => (picture.heat = heat.on()));
  stream.addEventListener(
    "live",
    ({ detail }) => {
      if (detail.camera !== id) return;
      picture.frame(detail);
      bar.live(detail.problem ? null : detail.strength);
    },
    { signal },
  );
  const clock = setInterval(() => picture.tick(), 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  const camera = (known) => {
    picture.camera(known);
    if (known.watched) bar.known(known.strength);
    else bar.set(null);
    drawZones(picture.layer, [...(known.fixed_zones ?? []), ...(known.zones ?? [])]);
  };
  return {
    node: h(
      "section",
      { class: "camera-live", "aria-label": "Live view" },
      picture.node,
      h("div", { class: "picture-tools" }, heat.node),
    ),
    camera,
    bar,
    toggleHeat: heat.toggle,
  };
}

function fillHead(head, camera) {
  const alerts = `#/alerts?${new URLSearchParams({ camera: camera.id })}`;
  replace(
    head,
    h("a", { class: "button quiet back", href: "#/wall" }, icon("left"), h("span", null, "Wall")),
    h("h1", null, camera.id),
    stateChip(camera),
    camera.alert ? h("a", { class: "chip alert", href: link`alerts/${camera.alert}` }, "Alert") : null,
    h("div", { class: "spacer" }),
    h("a", { class: "button", href: alerts }, icon("bell"), "Its alerts"),
  );
}

function fillFacts(facts, camera) {
  const whole = (count) => (count ?? 0).toLocaleString();
  const dropped =
    typeof camera.dropped === "object" && camera.dropped
      ? Object.values(camera.dropped).reduce((sum, each) => sum + each, 0)
      : camera.dropped;
  const rows = [
    ["State", `${stateWord(camera.state)}${camera.reason ? `: ${camera.reason}` : ""}`],
    ["Since", timeNode(camera.since)],
    ["Scene", camera.scene],
    ["Last frame", timeNode(camera.last_frame_time)],
    [
      "Frame age",
      camera.age_p50 === null || camera.age_p50 === undefined
        ? "–"
        : `${span(camera.age_p50)}, 19 of 20 within ${span(camera.age_p95 ?? camera.age_p50)}`,
    ],
    ["Scored", whole(camera.scored)],
    ["Not scored", whole(camera.not_scored)],
    ["Dropped", whole(dropped)],
    ["Sensitivity", `threshold × ${(camera.threshold_factor ?? 1).toFixed(2)}`],
    [
      "Gallery",
      camera.gallery
        ? `${camera.gallery.version}, ${whole(camera.gallery.frames)} frames`
        : (camera.gallery_problem ?? "none: enrol it first"),
    ],
  ];
  replace(
    facts,
    rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", { class: "number" }, value))),
  );
}

function chartSection(id, query, signal) {
  const chart = new ScoreChart({ signal });
  const tabs = h("div", { class: "segmented", role: "group", "aria-label": "How far back" });
  let range = RANGES.find(([name]) => name === query.get("range")) ?? RANGES[0];
  const load = async () => {
    const now = serverNow();
    const [from, to] = [now - range[2] * 3600e3, now].map((time) => new Date(time).toISOString());
    const asked = range;
    try {
      const data = await get(url`cameras/${id}/scores`, { from, to, points: POINTS }, signal);
      if (asked === range) chart.show(data, POINTS);
    } catch (error) {
      chart.fail(error);
    }
  };
  const choose = (chosen) => {
    range = chosen;
    setQuery({ range: range[0] === "1h" ? "" : range[0] });
    replace(
      tabs,
      RANGES.map((each) =>
        button(each[1], () => (choose(each), load()), { class: "segment", "aria-pressed": String(each === range) }),
      ),
    );
  };
  choose(range);
  load();
  const timer = setInterval(() => document.hidden || load(), REFRESH);
  stream.addEventListener("again", load, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
  return h(
    "section",
    { class: "panel" },
    h("div", { class: "panel-head" }, h("h2", null, "Scores over time"), tabs),
    chart.node,
  );
}
