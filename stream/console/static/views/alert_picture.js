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

  /** @param {any} alert as /alerts/ID gives it */
  constructor(alert) {
    this.#alert = alert;
    const [width, height] = alert.source_size ?? [16, 9];
    this.regions = new RegionLayer(alert.regions ?? [], [width, height]);
    this.#maskButton = button("Mask", () => this.toggleMask(), {
      class: "button toggle",
      title: "Mask and outlines (m)",
    });
    const box = h("div", { class: "big-picture" }, this.#stage);
    box.style.setProperty("--ratio", String(width / height));
    this.node = h(
      "section",
      { class: "picture-panel", "aria-label": "Picture" },
      h("div", { class: "picture-tools" }, this.#tabs, this.#maskButton),
      box,
    );
    this.#mode = alert.has?.view ? "view" : alert.has?.snapshot ? "snapshot" : "view";
    this.#loadMask();
    this.#show();
  }

  /** The alert has more pictures now. @param {any} alert */
  more(alert) {
    this.#alert = alert;
    this.#fillTabs();
  }

  async #loadMask() {
    if (!this.#alert.has?.mask) return;
    try {
      this.#mask = await maskCanvas(url`alerts/${this.#alert.alert_id}/mask.png`);
      this.#show();
    } catch {
      this.#mask = null; // gone with its retention: the outlines still stand
    }
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
      src: `${url`alerts/${id}`}/${this.#mode}.jpg`,
      alt: this.#mode === "view" ? `What ${this.#alert.camera} saw` : "The snapshot, with its regions drawn in",
    });
  }

  /** Lets regions be chosen in the view; null ends that. @param {(() => void)|null} onChange */
  choosable(onChange) {
    this.regions.choosable(onChange);
    if (onChange) this.mode("view");
    this.#show();
  }
}
