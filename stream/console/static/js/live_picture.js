// The live view of one camera. It never lets an old picture pass for a live one: a camera that is not watched has words
// in the picture's place, and a picture that stopped coming turns gray and says its age.
import { url } from "./api.js";
import { button, h, icon, replace, s, setText } from "./dom.js";
import { onItsNode, stateWord } from "./words.js";
import { localTime, secondsBetween, serverNow, span, timeNode } from "./time.js";

const STALE_AFTER = 5; // seconds at least; a camera whose frames are usually older than that gets three times that
const SLOW = 3;
const HAS_PICTURES = new Set(["MOVED", "NOT_SCORED"]); // states of a camera that sends pictures though nobody scores them

const stateText = ({ state, reason }) => `${stateWord(state)}${reason ? `: ${reason}` : ""}`;

export class LivePicture {
  #id;
  #camera = null;
  #shown = 0; // ms since 1970, of the frame that is shown; 0 = none
  #arrived = 0; // performance.now() when it came
  #loading = false;
  #next = null;
  #image;
  #heat;
  #heatOn = false;
  #cover = h("div", { class: "cover", hidden: true });
  #age = h("div", { class: "stale-age", hidden: true });
  #snooze = h("div", { class: "snoozed-note", hidden: true });
  #blind = h("div", { class: "blind-note", hidden: true });
  #allTheSame; // null = never; whether the picture of a camera that is not watched is shown @type {boolean|null}
  /** SVG over the picture, in fractions of it, for zones @type {SVGElement} */
  layer = s("svg", { class: "layer", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });

  /** @param {string} id of the camera @param {{ canUncover?: boolean }} [how] whether one may look all the same */
  constructor(id, { canUncover = false } = {}) {
    this.#id = id;
    this.#allTheSame = canUncover ? false : null;
    this.#image = h("img", {
      class: "view",
      alt: `Live view of ${id}`,
      hidden: true,
      onload: () => this.#loaded(true),
      onerror: () => this.#loaded(false),
    });
    this.#heat = h("img", {
      class: "heat",
      alt: "",
      hidden: true,
      onerror: () => (this.#heat.hidden = true),
      onload: () => (this.#heat.hidden = !this.#heatOn),
    });
    this.stage = h("div", { class: "stage" }, this.#image, this.#heat, this.layer);
    const notes = [this.#snooze, this.#blind, this.#age];
    this.node = h("div", { class: "live-picture" }, this.stage, notes, this.#cover);
  }

  /** Shows or hides where the scores are high. @param {boolean} on */
  set heat(on) {
    this.#heatOn = on;
    this.#heat.hidden = !on;
  }

  /** Takes the camera's state. @param {any} camera as /cameras gives it */
  camera(camera) {
    this.#camera = camera;
    this.#coverUp();
    this.tick();
  }

  /** Takes a `live` event of this camera. @param {any} live */
  frame(live) {
    if (this.#loading)
      this.#next = live; // a slow line skips pictures, it does not queue them
    else this.#fetch(live);
  }

  #fetch(live) {
    this.#loading = true;
    this.#next = null;
    this.pending = live;
    if (live.source_size) this.#shape(live.source_size);
    this.#image.src = `${url`cameras/${this.#id}/view.jpg`}?seq=${live.frame_seq}-${live.frame_time ?? ""}`;
    if (live.has_heat && this.#heatOn) this.#place(live);
    else this.#heat.hidden = true;
  }

  #place(live) {
    const [x, y, width, height] = live.heat_box ?? [0, 0, 1, 1];
    const sides = { left: x, top: y, width, height };
    for (const [side, part] of Object.entries(sides)) this.#heat.style.setProperty(side, `${part * 100}%`);
    this.#heat.src = `${url`cameras/${this.#id}/heat.png`}?seq=${live.frame_seq}`;
  }

  #shape([width, height]) {
    this.node.style.setProperty("--ratio", String(width / height));
  }

  #loaded(good) {
    this.#loading = false;
    if (good) {
      this.#image.hidden = false;
      if (!this.pending.source_size) this.#shape([this.#image.naturalWidth, this.#image.naturalHeight]);
      this.#shown = Date.parse(this.pending.frame_time ?? "") || 0;
      this.#arrived = performance.now();
      this.#coverUp();
    }
    this.tick();
    if (this.#next) this.#fetch(this.#next);
  }

  /** Looks at the age again; to be called about once a second. */
  tick() {
    const age = this.#ageNow();
    const limit = Math.max(STALE_AFTER, SLOW * (this.#camera?.age_p95 ?? 0));
    const isStale = !this.#image.hidden && age > limit;
    this.node.classList.toggle("stale", isStale);
    this.#age.hidden = !isStale || !this.#cover.hidden;
    if (isStale) setText(this.#age, `Not live: this picture is ${span(age)} old`);
  }

  /** Seconds. A recording's frames have times of their own: there it counts since the picture came. */
  #ageNow() {
    const since = (performance.now() - this.#arrived) / 1000;
    if (this.#camera?.mode === "replay" || !this.#shown) return since;
    return Math.max(since, (serverNow() - this.#shown) / 1000);
  }

  #coverUp() {
    const camera = this.#camera;
    const snoozed = camera?.snoozed_until && secondsBetween(camera.snoozed_until) < 0;
    this.#snooze.hidden = !snoozed;
    if (snoozed)
      replace(
        this.#snooze,
        icon("clock"),
        `Snoozed until ${localTime(camera.snoozed_until)}${camera.snooze_reason ? `: ${camera.snooze_reason}` : ""}`,
      );
    const isBlind = camera !== null && !camera.watched;
    if (this.#allTheSame && !isBlind) this.#allTheSame = false; // the next time it is asked for again
    const isCovered = isBlind && !this.#allTheSame;
    this.#cover.hidden = !isCovered && !this.#image.hidden;
    this.stage.hidden = isCovered;
    this.#blind.hidden = !isBlind || isCovered;
    if (isBlind) setText(this.#blind, `Not watched: ${stateText(camera)}`);
    if (isCovered) this.#fillCover(camera);
    else if (this.#image.hidden) {
      const text = onItsNode(camera?.node, "Watched. Live pictures", "Waiting for the first picture");
      replace(this.#cover, h("p", { class: "muted" }, text));
    }
  }

  #fillCover(camera) {
    const since = camera.since
      ? h("p", { class: "muted" }, "since ", timeNode(camera.since), ` (${span(secondsBetween(camera.since))})`)
      : null;
    const uncover = this.#allTheSame === false && HAS_PICTURES.has(camera.state) ? this.#uncoverButton : null;
    const hadFocus = document.activeElement === this.#uncoverButton;
    const words = [h("strong", null, "Not watched"), h("p", null, stateText(camera))];
    replace(this.#cover, icon("eyeOff"), words, since, uncover);
    if (uncover && hadFocus) uncover.focus({ preventScroll: true }); // it was put in anew
  }

  #uncoverButton = button("Show the picture all the same", () => {
    this.#allTheSame = true;
    this.#coverUp();
  });
}
