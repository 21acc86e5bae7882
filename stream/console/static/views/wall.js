// All cameras at once.
import { button, h, replace, setText } from "../js/dom.js";
import { bind } from "../js/keys.js";
import { LivePicture } from "../js/live_picture.js";
import { go, link } from "../js/router.js";
import { keepCameras, state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { remember, remembered } from "../js/theme.js";
import { LIVE_HOLDS, counted, stateChip, strengthBar } from "../js/words.js";
import { span } from "../js/time.js";

/** @type {import("../js/router.js").Page} */
export async function wallPage(root, { signal }) {
  const summary = h("p", { class: "muted", role: "status" });
  const grid = h("ul", { class: "wall" });
  const heat = heatSwitch();
  /** @type {Map<string, Tile>} */
  const tiles = new Map();
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, "Wall"), summary, h("div", { class: "spacer" }), heat.node),
    grid,
  );
  const show = () => {
    arrange(grid, tiles);
    tiles.forEach((tile) => (tile.picture.heat = heat.on()));
    setText(summary, inWords());
    stream.watch(["*"]); // the names of a thousand cameras are longer than an address may be
  };
  heat.changed(() => tiles.forEach((tile) => (tile.picture.heat = heat.on())));
  bindKeys(signal, grid, heat);
  if (!state.cameras.size) replace(grid, h("li", { class: "empty" }, "Loading the cameras"));
  await state.loadCameras(signal);
  show();
  keepCameras(signal);
  state.addEventListener("cameras", show, { signal });
  stream.addEventListener("live", ({ detail }) => tiles.get(detail.camera)?.live(detail), { signal });
  const clock = setInterval(() => tiles.forEach((tile) => tile.picture.tick()), 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
}

function bindKeys(signal, grid, heat) {
  const step = (by) => () => {
    const links = [...grid.querySelectorAll(".tile-name")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + by))]?.focus();
  };
  bind(signal, {
    j: ["next camera", step(1)],
    k: ["previous camera", step(-1)],
    Enter: ["open the camera", () => grid.querySelector(".tile-name")?.click()],
    h: ["heat on or off", heat.toggle],
  });
}

/** The button for the heat overlay, which is remembered. */
export function heatSwitch() {
  let listener = () => {};
  const on = () => remembered("heat") !== "off";
  const toggle = () => {
    remember("heat", on() ? "off" : null);
    node.setAttribute("aria-pressed", String(on()));
    listener();
  };
  const node = button("Heat", toggle, {
    class: "button toggle",
    title: "Show where the scores are high (h)",
    "aria-pressed": String(on()),
  });
  return { node, on, toggle, changed: (action) => (listener = action) };
}

function arrange(grid, tiles) {
  const ids = [...state.cameras.keys()];
  for (const id of [...tiles.keys()]) if (!state.cameras.has(id)) tiles.delete(id);
  for (const id of ids) {
    if (!tiles.has(id)) tiles.set(id, new Tile(id));
    tiles.get(id).camera(state.cameras.get(id));
  }
  const nodes = ids.map((id) => tiles.get(id).node);
  const isSame = nodes.length === grid.children.length && nodes.every((node, index) => node === grid.children[index]);
  if (isSame) return;
  replace(
    grid,
    nodes.length
      ? nodes
      : h("li", { class: "empty" }, "No camera is configured. Add one to the configuration, then reload it."),
  );
}

function inWords() {
  const all = [...state.cameras.values()];
  const blind = all.filter((camera) => !camera.watched).length;
  const alerts = all.filter((camera) => camera.alert).length;
  const parts = [counted(all.length, "camera"), blind ? `${blind} not watched` : "all watched"];
  if (alerts) parts.push(`${counted(alerts, "alert")} going on`);
  return parts.join(", ");
}

/** One camera of the wall. */
class Tile {
  #chip = h("span", { class: "chip-place" });
  #bar = strengthBar();
  #note = h("span", { class: "tile-note number muted" });
  #alert = h("span", { class: "alert-place" });
  #known = "";
  #ringing = null;
  #liveAt = -Infinity; // performance.now() of the last live frame, which knows more than the status

  constructor(id) {
    this.picture = new LivePicture(id);
    const name = h("a", { class: "tile-name", href: link`camera/${id}` }, id);
    const open = () => go(link`camera/${id}`); // for the pointer; the name is the link for everybody else
    this.picture.node.addEventListener("click", open);
    this.node = h(
      "li",
      { class: "tile" },
      h("div", { class: "tile-head" }, name, this.#alert, this.#chip),
      this.picture.node,
      h("div", { class: "tile-foot" }, this.#bar.node, this.#note),
    );
  }

  /** @param {any} camera */
  camera(camera) {
    this.picture.camera(camera);
    if (camera.watched) this.#bar.known(camera.strength);
    else this.#bar.set(null);
    setText(
      this.#note,
      camera.watched && camera.age_p95 !== null && camera.age_p95 !== undefined ? `${span(camera.age_p95)} behind` : "",
    );
    this.#note.title = "19 of 20 frames are scored within this time";
    this.node.classList.toggle("blind", !camera.watched);
    if (performance.now() - this.#liveAt > LIVE_HOLDS) this.#ring(camera.alert ?? null);
    const known = `${camera.state} ${camera.watched}`;
    if (known === this.#known) return;
    this.#known = known;
    replace(this.#chip, stateChip(camera));
  }

  /** @param {any} live */
  live(live) {
    this.picture.frame(live);
    this.#bar.live(live.problem ? null : live.strength);
    this.#liveAt = performance.now();
    this.#ring(live.alert ?? null);
  }

  #ring(alert) {
    if (alert === this.#ringing) return;
    this.#ringing = alert;
    this.node.classList.toggle("alerting", Boolean(alert));
    replace(this.#alert, alert ? h("a", { class: "chip alert", href: link`alerts/${alert}` }, "Alert") : null);
  }
}
