// The filters over the list of alerts. They stand in the address, so that a link shows the same list.
import { h, replace } from "../js/dom.js";

const REVIEWS = [
  ["open", "Not reviewed"],
  ["all", "All"],
  ["real", "Real"],
  ["false", "False alarms"],
  ["normal", "Called normal"],
];
const RANGES = [
  ["1h", "Last hour"],
  ["1d", "Last day"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["all", "Any time"],
  ["custom", "From … to …"],
];

/**
 * @param {URLSearchParams} query of the address
 * @param {(words: Record<string, string>) => void} changed
 */
export function alertFilters(query, changed) {
  const camera = h("select", { name: "camera" });
  const review = choice("review", REVIEWS, query.get("review") ?? "all");
  const range = choice("range", RANGES, query.get("range") ?? "all");
  const from = h("input", { type: "datetime-local", name: "from", value: query.get("from") });
  const to = h("input", { type: "datetime-local", name: "to", value: query.get("to") });
  const custom = h("div", { class: "filter-custom" }, labelled("From", from), labelled("To", to));
  const words = () => ({
    camera: camera.value,
    review: review.value,
    range: range.value,
    ...(range.value === "custom" ? { from: from.value, to: to.value } : {}),
  });
  const show = () => (custom.hidden = range.value !== "custom");
  const node = h(
    "form",
    {
      class: "filters",
      "aria-label": "Filters",
      onsubmit: (event) => event.preventDefault(),
      onchange: () => (show(), changed(words())),
    },
    labelled("Camera", camera),
    labelled("When", range),
    labelled("Review", review),
    custom,
  );
  const cameras = (ids) => {
    const wanted = query.get("camera") ?? "";
    const all = wanted && !ids.includes(wanted) ? [...ids, wanted] : ids; // one that is gone still has its alerts
    replace(
      camera,
      h("option", { value: "" }, "All"),
      all.map((id) => h("option", { value: id, selected: id === wanted }, id)),
    );
  };
  cameras([]);
  show();
  return { node, words, cameras };
}

const labelled = (text, control) => h("label", { class: "filter" }, h("span", null, text), control);

function choice(name, options, chosen) {
  return h(
    "select",
    { name },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}
