// The mask of an alert as a tint over its picture, and the outlines of its regions, which can be chosen.
import { h, replace, s } from "./dom.js";

const TINT = [226, 40, 50]; // red: stands out over vegetation, paving and night pictures alike
const ALPHA = 110; // of 255: what lies under the tint must stay recognisable

/**
 * A canvas with the mask as a tint.
 * @param {string} address of a PNG with one channel, 255 = anomalous
 * @returns {Promise<HTMLCanvasElement>}
 */
export async function maskCanvas(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = h("canvas", {
    class: "mask",
    width: image.naturalWidth,
    height: image.naturalHeight,
    "aria-hidden": "true",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  tint(pixels.data);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function tint(data) {
  for (let at = 0; at < data.length; at += 4) {
    const isInside = data[at] > 127;
    [data[at], data[at + 1], data[at + 2]] = TINT;
    data[at + 3] = isInside ? ALPHA : 0;
  }
}

/** Outlines of regions, numbered from 1. Listen to `chosen` by the callback; without one they are only shown. */
export class RegionLayer {
  node = s("svg", { class: "regions", preserveAspectRatio: "none" });
  /** numbers of regions, from 0 @type {Set<number>} */
  chosen = new Set();
  #regions;
  #onChange = null;

  /** @param {any[]} regions of an alert @param {[number, number]} size of the frame in pixels */
  constructor(regions, [width, height]) {
    this.#regions = regions;
    this.node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#draw(width);
  }

  #draw(width) {
    const size = width / 40;
    replace(
      this.node,
      this.#regions.map((region, index) => {
        const points = region.polygon.map(([x, y]) => `${x},${y}`).join(" ");
        const [x, y] = region.bbox;
        return s(
          "g",
          { class: "region", "data-index": index, onclick: () => this.toggle(index) },
          s("title", null, `Region ${index + 1}`),
          s("polygon", { points, "vector-effect": "non-scaling-stroke", class: "outline under" }),
          s("polygon", { points, "vector-effect": "non-scaling-stroke", class: "outline" }),
          s("text", { x: x + size * 0.2, y: Math.max(y - size * 0.3, size), "font-size": size }, String(index + 1)),
        );
      }),
    );
  }

  /** Whether somebody chooses. */
  get isChoosable() {
    return this.#onChange !== null;
  }

  /** Lets regions be chosen by clicking them; null ends that. @param {(() => void)|null} onChange */
  choosable(onChange) {
    this.#onChange = onChange;
    this.node.classList.toggle("choosable", onChange !== null);
    this.#mark();
  }

  /** @param {number} index */
  toggle(index) {
    if (!this.#onChange) return;
    if (!this.chosen.delete(index)) this.chosen.add(index);
    this.#mark();
    this.#onChange();
  }

  #mark() {
    for (const group of this.node.children)
      group.classList.toggle("chosen", this.#onChange !== null && this.chosen.has(Number(group.dataset.index)));
  }
}
