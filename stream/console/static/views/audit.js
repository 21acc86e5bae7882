// Who did what. Nothing here can be changed.
import { get, url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";
import { link, setQuery } from "../js/router.js";
import { state } from "../js/state.js";
import { timeNode } from "../js/time.js";
import { actionWord } from "../js/words.js";
import { detail } from "./alert_parts.js";

const PAGE = 100;

/** @type {import("../js/router.js").Page} */
export async function auditPage(root, { query, signal }) {
  const body = h("tbody");
  const more = h("div", { class: "more" });
  const camera = h("select", { name: "camera", onchange: () => (setQuery({ camera: camera.value }), load(null)) });
  const load = async (before) => {
    const answer = await get(url`audit`, { camera: camera.value, limit: PAGE, before }, signal);
    if (!before)
      replace(
        body,
        answer.entries.length
          ? null
          : h("tr", null, h("td", { colspan: 4, class: "empty" }, "Nobody has done anything yet.")),
      );
    body.append(...answer.entries.map(row));
    replace(more, answer.next ? button("Show older", () => load(answer.next)) : null);
  };
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, "Audit"), h("p", { class: "muted" }, "Who did what, newest first.")),
    h("form", { class: "filters" }, h("label", { class: "filter" }, h("span", null, "Camera"), camera)),
    h(
      "div",
      { class: "scroll-x panel" },
      h(
        "table",
        { class: "audit" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["When", "Who", "What", "On"].map((text) => h("th", { scope: "col" }, text)),
          ),
        ),
        body,
      ),
    ),
    more,
  );
  if (!state.cameras.size) await state.loadCameras(signal);
  replace(
    camera,
    h("option", { value: "" }, "All"),
    [...state.cameras.keys()].map((id) => h("option", { value: id, selected: id === query.get("camera") }, id)),
  );
  await load(null);
}

function row(entry) {
  const on = [
    entry.camera && h("a", { href: link`camera/${entry.camera}` }, entry.camera),
    entry.scene && entry.scene !== entry.camera ? entry.scene : null,
    entry.alert_id && h("a", { href: link`alerts/${entry.alert_id}` }, "alert"),
  ].filter(Boolean);
  return h(
    "tr",
    null,
    h("td", null, timeNode(entry.at)),
    h("td", null, entry.user),
    h("td", { class: "wrap" }, actionWord(entry.action), detail(entry.detail)),
    h(
      "td",
      null,
      on.flatMap((each, index) => (index ? [" · ", each] : [each])),
    ),
  );
}
