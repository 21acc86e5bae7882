// The big picture of an alert: clean view, snapshot or clip, with the mask and the outlines over the clean one.
import { url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";
import { maskCanvas, RegionLayer } from "../js/mask_layer.js";
import { remember, remembered } from "../js/theme.js";

const MODES = [
  ["view", "View"],
  ["snapshot", "Snapshot"],
  ["clip", "Clip"],
];

export class AlertPicture {
  #alert;
  #mode = "view";
  #stage = h("div", { class: "stage" });
  #tabs = h("div", { class: "segmented", role: "group", "aria-label": "What is shown" });
  #maskButton;
  #mask = null;
  #box;

  /** @param {any} alert as /alerts/ID gives it */
  constructor(alert) {
    this.#alert = alert;
    this.#maskButton = button("Mask", () => this.toggleMask(), {
      class: "button toggle",
      title: "Mask and outlines (m)",
    });
    this.#box = h("div", { class: "big-picture" }, this.#stage);
    this.#takeRegions();
    this.node = h(
      "section",
      { class: "picture-panel", "aria-label": "Picture" },
      h("div", { class: "picture-tools" }, this.#tabs, this.#maskButton),
      this.#box,
    );
    this.#mode = alert.has?.view ? "view" : alert.has?.snapshot ? "snapshot" : "view";
    this.#loadMask();
    this.#show();
  }

  /** What its strongest message shows: regions are numbered by that one, so both change together or not at all. */
  #takeRegions() {
    const [width, height] = this.#alert.source_size ?? [16, 9];
    this.seen = this.#alert.peak_seq;
    this.shown = this.#alert.regions ?? [];
    this.regions = new RegionLayer(this.shown, [width, height]);
    this.#box.style.setProperty("--ratio", String(width / height));
  }

  /** The alert has more pictures now. While regions are chosen, the picture stays as it is. @param {any} alert */
  more(alert) {
    this.#alert = alert;
    if (alert.peak_seq === this.seen || this.regions.isChoosable) return this.#fillTabs();
    this.#takeRegions();
    this.#mask = null;
    this.#loadMask();
    this.#show();
  }

  async #loadMask() {
    if (!this.#alert.has?.mask) return;
    try {
      const { seen } = this;
      const mask = await maskCanvas(this.#address("mask", "mask.png"));
      if (seen !== this.seen) return; // there is a stronger one meanwhile
      this.#mask = mask;
      this.#show();
    } catch {
      this.#mask = null; // gone with its retention: the outlines still stand
    }
  }

  /** Of the message whose regions are shown, where that one has it. */
  #address(kind, file) {
    const { alert_id: id, messages } = this.#alert;
    const own = messages?.some((each) => each.seq === this.seen && each[kind]);
    return `${url`alerts/${id}`}/${file}${own ? `?seq=${this.seen}` : ""}`;
  }

  /** @param {"view"|"snapshot"|"clip"} mode */
  mode(mode) {
    if (!this.#alert.has?.[mode]) return;
    this.#mode = mode;
    this.#show();
  }

  get #isMasked() {
    return remembered("mask") !== "off";
  }

  toggleMask() {
    remember("mask", this.#isMasked ? "off" : null);
    this.#show();
  }

  #fillTabs() {
    replace(
      this.#tabs,
      MODES.map(([mode, text]) =>
        button(text, () => this.mode(mode), {
          class: "segment",
          "aria-pressed": String(this.#mode === mode),
          disabled: !this.#alert.has?.[mode],
          title: this.#alert.has?.[mode] ? null : this.#lacking(mode, text),
        }),
      ),
    );
  }

  #lacking(mode, text) {
    if (mode === "view" && this.#alert.elsewhere) return "The clean view stays on the machine that scored it";
    const early = mode === "clip" && !this.#alert.ended_at ? " before the alert has ended" : "";
    return `There is no ${text.toLowerCase()}${early}`;
  }

  #show() {
    this.#fillTabs();
    const isView = this.#mode === "view";
    this.#maskButton.setAttribute("aria-pressed", String(this.#isMasked));
    this.#maskButton.disabled = !isView;
    replace(
      this.#stage,
      this.#content(),
      isView && this.#isMasked
        ? [this.#mask, this.regions.node]
        : this.regions.node.classList.contains("choosable") && isView
          ? this.regions.node
          : null,
    );
  }

  #content() {
    const { alert_id: id, has } = this.#alert;
    if (!has?.[this.#mode]) return h("p", { class: "gone" }, "No picture is kept of this alert.");
    if (this.#mode === "clip")
      return h("video", {
        src: url`alerts/${id}/clip.mp4`,
        controls: true,
        loop: true,
        muted: true,
        autoplay: !matchMedia("(prefers-reduced-motion: reduce)").matches,
        playsinline: true,
      });
    return h("img", {
      class: "view",
      src: this.#address(this.#mode, `${this.#mode}.jpg`),
      alt: this.#mode === "view" ? `What ${this.#alert.camera} saw` : "The snapshot, with its regions drawn in",
    });
  }

  /** Lets regions be chosen in the view; null ends that. @param {(() => void)|null} onChange */
  choosable(onChange) {
    this.regions.choosable(onChange);
    if (onChange) this.mode("view");
    else this.more(this.#alert); // what was held back
    this.#show();
  }
}
