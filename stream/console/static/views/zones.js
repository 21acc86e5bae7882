// The editor of a camera's zones: where alerts do not count, or where alone they do.
import { put, url } from "../js/api.js";
import { button, h, replace, setText, toast } from "../js/dom.js";
import { state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { LEAST_POINTS, polygons, ZoneSurface } from "../js/zone_surface.js";

const KINDS = [
  ["ignore", "Ignore"],
  ["watch", "Watch only this"],
];
const HELP =
  "Click or touch for points; a click on the first one closes the zone. With keys: arrows move, Enter sets a point, Backspace takes it back, C closes, Escape gives up. Corners of a zone are dragged; with keys Tab leads from one to the next, arrows move it, with Shift further.";

/** Draws zones into a layer over a picture. @param {SVGElement} layer @param {any[]} zones */
export function drawZones(layer, zones) {
  replace(layer, polygons(zones));
}

/** @param {string} id of the camera @param {AbortSignal} signal */
export function zonesPanel(id, signal) {
  const editor = new ZonesEditor(id);
  editor.read();
  // one picture to draw on, as soon as there is one; it stands still while somebody draws
  const first = ({ detail }) => {
    if (detail.camera !== id) return;
    stream.removeEventListener("live", first);
    editor.look();
  };
  stream.addEventListener("live", first, { signal });
  state.addEventListener("cameras", () => editor.isChanged || editor.read(), { signal });
  return h("section", { class: "panel zones-panel" }, h("h2", null, "Zones"), editor.node);
}

class ZonesEditor {
  isChanged = false;
  #id;
  #known = "";
  #list = h("ul", { class: "zone-list" });
  #status = h("p", { class: "hint number", role: "status" });
  #add = button("Add a zone", () => this.surface.begin());
  #undo = button("Undo point", () => this.surface.undo());
  #close = button("Close zone", () => this.surface.close(), { class: "button primary" });
  #cancel = button("Cancel", () => this.surface.cancel(), { class: "button quiet" });
  #save = button("Save zones", () => this.#put(), { class: "button primary" });
  #discard = button("Discard changes", () => this.read(true), { class: "button quiet" });

  constructor(id) {
    this.#id = id;
    this.surface = new ZoneSurface({ changed: () => this.#moved(), closed: (polygon) => this.#closed(polygon) });
    const picture = h("img", {
      class: "view",
      hidden: true,
      alt: `View of ${id}`,
      onload: () => box.style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight)),
      onerror: () => (picture.hidden = true),
    });
    const look = () => {
      picture.hidden = false;
      picture.src = `${url`cameras/${id}/view.jpg`}?at=${Date.now()}`;
    };
    const box = h("div", { class: "big-picture" }, h("div", { class: "stage" }, picture, this.surface.node));
    this.look = look;
    this.node = h(
      "div",
      { class: "zones" },
      h(
        "div",
        null,
        box,
        h(
          "div",
          { class: "buttons" },
          this.#add,
          this.#undo,
          this.#close,
          this.#cancel,
          button("New picture", look, { class: "button quiet" }),
        ),
        this.#status,
      ),
      h(
        "div",
        null,
        this.#list,
        h("div", { class: "buttons" }, this.#save, this.#discard),
        h("p", { class: "hint" }, HELP),
      ),
    );
  }

  /** Takes the zones that are in force. @param {boolean} [always] even where they are the same as before */
  read(always = false) {
    const camera = state.cameras.get(this.#id);
    const now = JSON.stringify([camera?.zones, camera?.fixed_zones]);
    if (now === this.#known && !always) return;
    this.#known = now;
    const { selected, zones } = this.surface;
    const isSame = selected >= 0 && zones[selected]?.name === camera?.zones?.[selected]?.name; // as it was saved
    this.surface.zones = structuredClone(camera?.zones ?? []);
    this.surface.fixed = camera?.fixed_zones ?? [];
    this.surface.selected = isSame ? selected : -1;
    this.surface.draft = null;
    this.#changed(false);
  }

  #closed(polygon) {
    const names = new Set([...this.surface.zones, ...this.surface.fixed].map((zone) => zone.name));
    let number = 1;
    while (names.has(`zone ${number}`)) number += 1;
    this.surface.zones.push({ name: `zone ${number}`, kind: "ignore", polygon });
    this.surface.selected = this.surface.zones.length - 1;
    this.#changed(true);
    this.#list.querySelector("li:last-child input")?.select();
  }

  /** A corner of a zone was moved, or a point set. */
  #moved() {
    if (this.surface.selected >= 0) this.isChanged = true;
    this.#show();
  }

  #changed(is) {
    this.isChanged = is;
    this.surface.draw();
    const held = this.#focused();
    replace(
      this.#list,
      this.surface.zones.map((zone, index) => this.#row(zone, index)),
      this.surface.fixed.map(fixedRow),
      this.surface.zones.length + this.surface.fixed.length
        ? null
        : h("li", { class: "muted" }, "No zones: everything that the camera sees counts."),
    );
    this.#controls()[held]?.focus({ preventScroll: true });
    this.#show();
  }

  #controls() {
    return [...this.#list.querySelectorAll("input, select, button")];
  }

  /** Which of the rows' controls has the focus: who works with keys must not lose it when the rows are made anew. */
  #focused() {
    return this.#controls().indexOf(document.activeElement);
  }

  #show() {
    const { draft } = this.surface;
    this.#add.hidden = draft !== null;
    for (const each of [this.#undo, this.#close, this.#cancel]) each.hidden = draft === null;
    this.#undo.disabled = !draft?.length;
    this.#close.disabled = (draft?.length ?? 0) < LEAST_POINTS;
    this.#save.disabled = !this.isChanged || draft !== null;
    this.#discard.hidden = !this.isChanged;
    setText(
      this.#status,
      draft
        ? `${draft.length} points${draft.length < LEAST_POINTS ? ", at least 3 are needed" : ""}`
        : this.isChanged
          ? "Not saved yet"
          : "",
    );
  }

  #row(zone, index) {
    const select = () => {
      this.surface.selected = index;
      this.surface.draw();
    };
    const change = (field) => (event) => {
      zone[field] = event.target.value;
      this.#changedRow();
    };
    const gone = () => {
      this.surface.zones.splice(index, 1);
      this.surface.selected = -1;
      this.#changed(true);
    };
    return h(
      "li",
      { onfocusin: select, onpointerdown: select },
      h("input", { value: zone.name, maxlength: 64, "aria-label": "Name of the zone", oninput: change("name") }),
      h(
        "select",
        { "aria-label": `What ${zone.name} does`, onchange: change("kind") },
        KINDS.map(([value, text]) => h("option", { value, selected: value === zone.kind }, text)),
      ),
      button("Corners", () => this.surface.focusCorner(index), {
        class: "button quiet small",
        "aria-label": `Move the corners of ${zone.name}`,
      }),
      button("Delete", gone, { class: "button quiet small", "aria-label": `Delete ${zone.name}` }),
    );
  }

  #changedRow() {
    this.isChanged = true;
    this.surface.draw();
    this.#show();
  }

  async #put() {
    this.#save.disabled = true;
    try {
      const { revision } = await put(url`cameras/${this.#id}/zones`, {
        zones: this.surface.zones,
        revision: state.revision,
      });
      state.changed(revision);
      this.isChanged = false;
      toast(`Zones of ${this.#id} are saved`);
      await state.loadCameras();
    } catch (error) {
      toast(error.message, "bad");
      if (error.status === 409) state.loadCameras().catch(() => undefined); // what is drawn stays; saving again goes on top
    }
    this.#show();
  }
}

function fixedRow(zone) {
  return h(
    "li",
    { class: "fixed" },
    h("span", null, zone.name),
    h("span", { class: "muted" }, `${zone.kind}, from the configuration`),
  );
}
