// A surface over a picture on which polygons are drawn, with mouse, touch or keyboard. Points are fractions 0..1.
import { h, replace, s } from "./dom.js";

export const LEAST_POINTS = 3;
export const MOST_POINTS = 64;
const NEAR = 14; // px: a click this near to the first point closes the zone
const STEP = 0.01; // of the picture, for an arrow key; with Shift five times that
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Zones as polygons. @param {any[]} zones @param {(index: number) => string} [extra] a class for each */
export function polygons(zones, extra = () => "") {
  return zones.map((zone, index) =>
    s(
      "polygon",
      {
        class: `zone ${zone.kind === "watch" ? "watch" : "ignore"} ${extra(index)}`,
        points: pointsText(zone.polygon),
        "vector-effect": "non-scaling-stroke",
      },
      s("title", null, zone.name),
    ),
  );
}

const pointsText = (polygon) => polygon.map(([x, y]) => `${x},${y}`).join(" ");
const inside = (value) => Math.min(1, Math.max(0, value));
const rounded = (value) => Math.round(inside(value) * 1e4) / 1e4;

export class ZoneSurface {
  /** points of the zone that is being drawn; null = none is @type {[number, number][]|null} */
  draft = null;
  zones = [];
  fixed = [];
  selected = -1;
  #cursor = [0.5, 0.5];
  #usesKeys = false;
  #dragged = null;
  #svg = s("svg", { class: "layer", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  #dots = h("div", { class: "dots" });

  /** @param {{ changed: () => void, closed: (polygon: [number, number][]) => void }} listener */
  constructor(listener) {
    this.listener = listener;
    this.node = h(
      "div",
      {
        class: "zone-surface",
        role: "application",
        tabindex: 0,
        "aria-label": "Surface for drawing zones",
        onkeydown: (event) => this.#key(event),
        onpointerdown: (event) => this.#down(event),
        onpointermove: (event) => this.#move(event),
        onpointerup: (event) => this.#up(event),
        onpointercancel: () => (this.#dragged = null),
        onblur: () => this.#keys(false),
      },
      this.#svg,
      this.#dots,
    );
  }

  begin() {
    this.draft = [];
    this.selected = -1;
    this.#changed();
    this.node.focus({ preventScroll: true });
  }

  cancel() {
    this.draft = null;
    this.#changed();
  }

  undo() {
    this.draft?.pop();
    this.#changed();
  }

  /** Ends the zone that is being drawn, if it has points enough. */
  close() {
    if (!this.draft || this.draft.length < LEAST_POINTS) return;
    const polygon = this.draft;
    this.draft = null;
    this.listener.closed(polygon);
    this.#changed();
  }

  #add(point) {
    if (this.draft.length >= MOST_POINTS) return;
    this.draft.push(point.map(rounded));
    this.#changed();
  }

  #changed() {
    this.draw();
    this.listener.changed();
  }

  draw() {
    const draft = this.draft ?? [];
    const cursor = this.draft && this.#usesKeys ? [this.#cursor] : [];
    replace(
      this.#svg,
      polygons(this.fixed, () => "fixed"),
      polygons(this.zones, (index) => (index === this.selected ? "selected" : "")),
      draft.length
        ? s("polyline", {
            class: "zone draft",
            points: pointsText([...draft, ...cursor]),
            "vector-effect": "non-scaling-stroke",
          })
        : null,
    );
    this.#drawCorners(draft, cursor);
    this.node.classList.toggle("drawing", this.draft !== null);
  }

  /** Corners of a closed zone can have the focus, which stays with them while they move. */
  #drawCorners(draft, cursor) {
    const zone = this.draft ? null : this.zones[this.selected];
    const focused = document.activeElement;
    const held = this.#dots.contains(focused) ? focused.dataset.index : null;
    replace(
      this.#dots,
      zone
        ? zone.polygon.map((point, index) => corner(point, index, zone))
        : draft.map((point, index) => dot(point, index === 0 ? "dot first" : "dot", index)),
      cursor.map((point) => dot(point, "cross", -1)),
    );
    if (held !== null) this.#dots.querySelector(`[data-index="${Number(held)}"]`)?.focus({ preventScroll: true });
  }

  /** Puts the focus on a zone's first corner. @param {number} index of the zone */
  focusCorner(index) {
    this.selected = index;
    this.draw();
    this.#dots.querySelector(".dot")?.focus();
  }

  #at(event) {
    const box = this.node.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #down(event) {
    this.#keys(false);
    const index = Number(event.target.dataset?.index ?? -1);
    if (this.draft || this.selected < 0 || index < 0) return;
    this.#dragged = index;
    this.node.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  #move(event) {
    if (this.#dragged === null) return;
    this.zones[this.selected].polygon[this.#dragged] = this.#at(event).map(rounded);
    this.#changed();
  }

  #up(event) {
    if (this.#dragged !== null) return void (this.#dragged = null);
    if (!this.draft) return;
    const point = this.#at(event);
    if (this.draft.length >= LEAST_POINTS && this.#isNear(point, this.draft[0])) this.close();
    else this.#add(point);
  }

  #isNear([x, y], [otherX, otherY]) {
    const box = this.node.getBoundingClientRect();
    return Math.hypot((x - otherX) * box.width, (y - otherY) * box.height) <= NEAR;
  }

  #keys(used) {
    if (this.#usesKeys === used) return;
    this.#usesKeys = used;
    this.draw();
  }

  /** Moves the corner that has the focus. */
  #cornerKey(event) {
    const index = Number(event.target.dataset?.index ?? -1);
    const move = MOVES[event.key];
    const polygon = this.zones[this.selected]?.polygon;
    if (!move || !polygon?.[index]) return;
    event.preventDefault();
    event.stopPropagation();
    const step = event.shiftKey ? STEP * 5 : STEP;
    polygon[index] = polygon[index].map((value, axis) => rounded(value + move[axis] * step));
    this.#changed();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.draft) return this.#cornerKey(event);
    const move = MOVES[event.key];
    const action = {
      Enter: () => this.#add(this.#cursor),
      " ": () => this.#add(this.#cursor),
      Backspace: () => this.undo(),
      c: () => this.close(),
      Escape: () => this.cancel(),
    }[event.key];
    if (!move && !action) return;
    event.preventDefault();
    event.stopPropagation();
    this.#usesKeys = true;
    const step = event.shiftKey ? STEP * 5 : STEP;
    if (move) this.#cursor = this.#cursor.map((value, axis) => inside(value + move[axis] * step));
    action?.();
    this.draw();
  }
}

/** A corner of a closed zone: a button, so that Tab leads from one to the next. */
function corner(point, index, { name, polygon }) {
  const [x, y] = point.map((value) => `${Math.round(value * 100)} %`);
  const label = `Corner ${index + 1} of ${polygon.length} of ${name}, at ${x} from the left and ${y} from the top`;
  return placed(h("button", { type: "button", class: "dot", "data-index": index, "aria-label": label }), point);
}

const dot = (point, kind, index) =>
  placed(h("span", { class: kind, "data-index": index, "aria-hidden": "true" }), point);

function placed(node, [x, y]) {
  node.style.setProperty("left", `${x * 100}%`);
  node.style.setProperty("top", `${y * 100}%`);
  return node;
}
