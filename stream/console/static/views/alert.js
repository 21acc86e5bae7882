// One alert: what was seen, why it fired, what was normal there, and what people say of it.
import { get, url } from "../js/api.js";
import { button, h, icon, replace } from "../js/dom.js";
import { bind } from "../js/keys.js";
import { go, link } from "../js/router.js";
import { state } from "../js/state.js";
import { stream } from "../js/stream.js";
import { secondsBetween, span, timeNode } from "../js/time.js";
import { reviewChip, times } from "../js/words.js";
import { AlertPicture } from "./alert_picture.js";
import { chartAround, historyList, neighbourPanel, whyPanel } from "./alert_parts.js";
import { reviewPanel } from "./review.js";

/** @type {import("../js/router.js").Page} */
export async function alertPage(root, { params: [id], signal }) {
  replace(root, h("p", { class: "loading" }, "Loading the alert"));
  const alert = await get(url`alerts/${id}`, {}, signal);
  const picture = new AlertPicture(alert);
  const head = h("div", { class: "page-head alert-head" });
  const past = h("div", { class: "panel" });
  const facts = h("dl", { class: "facts" });
  const show = (news) => {
    Object.assign(alert, news);
    fillHead(head, alert);
    fillFacts(facts, alert);
    replace(past, h("h2", null, "History"), historyList(alert.history));
  };
  const reload = async () => show(await get(url`alerts/${id}`, {}, signal));
  const review = reviewPanel(alert, picture, {
    signal,
    reload,
    changed: (news) => (show(news), reload().catch(() => undefined)),
  });
  replace(
    root,
    head,
    h(
      "div",
      { class: "review" },
      h(
        "div",
        { class: "review-main" },
        picture.node,
        review.normal,
        neighbourPanel(alert),
        chartAround(alert, signal),
      ),
      h(
        "div",
        { class: "review-side" },
        review.node,
        h("div", { class: "panel" }, h("h2", null, "What happened"), facts),
        whyPanel(alert),
        past,
      ),
    ),
  );
  show({});
  bindKeys(signal, id, picture);
  const arrive = () => arrived(alert, picture, review, reload);
  stream.addEventListener("alert", ({ detail }) => detail.alert_id === id && arrive(), { signal });
  stream.addEventListener("again", arrive, { signal });
}

/** The alert went on or ended, or somebody else reviewed it. */
async function arrived(alert, picture, review, reload) {
  const before = alert.review;
  await reload().catch(() => undefined); // the banner tells of a lost line
  picture.more(alert);
  if (alert.review !== before) review.show();
}

function fillHead(head, alert) {
  const [before, after] = beside(alert.alert_id);
  replace(
    head,
    h("a", { class: "button quiet back", href: "#/alerts" }, icon("left"), h("span", null, "Alerts")),
    h("h1", null, h("a", { href: link`camera/${alert.camera}` }, alert.camera)),
    timeNode(alert.started_at),
    alert.ended_at ? null : h("span", { class: "chip alert" }, "Going on"),
    reviewChip(alert),
    h("div", { class: "spacer" }),
    button([icon("left"), h("span", { class: "visually-hidden" }, "Newer alert")], () => goTo(before), {
      class: "button square",
      disabled: !before,
      title: "Newer (k)",
    }),
    button([icon("right"), h("span", { class: "visually-hidden" }, "Older alert")], () => goTo(after), {
      class: "button square",
      disabled: !after,
      title: "Older (j)",
    }),
  );
}

const goTo = (id) => id && go(link`alerts/${id}`);

/** The ids before and after one in the list as it was last shown. */
function beside(id) {
  const at = state.order.indexOf(id);
  return at < 0 ? [undefined, undefined] : [state.order[at - 1], state.order[at + 1]];
}

function fillFacts(facts, alert) {
  const lasted = alert.ended_at ? span(secondsBetween(alert.started_at, alert.ended_at)) : "still going on";
  const last = alert.messages?.at(-1);
  const rows = [
    ["Peak", `${times(alert.peak_strength)} threshold`],
    ["Began", timeNode(alert.started_at)],
    ["Lasted", lasted],
    ["Scene", alert.scene],
    ["Regions", String(alert.regions?.length ?? 0)],
    ["Gallery", alert.gallery_version ?? "–"],
    ["Messages", String(alert.messages?.length ?? 0)],
    last?.segment ? ["Clip of footage", last.segment] : null,
    alert.elsewhere ? ["Scored on", alert.elsewhere.node || `the machine with outbox ${alert.elsewhere.outbox}`] : null,
  ];
  if (alert.reviewed_by) rows.push(["Reviewed", [`${alert.reviewed_by}, `, timeNode(alert.reviewed_at)]]);
  if (alert.note) rows.push(["Note", alert.note]);
  replace(
    facts,
    rows
      .filter(Boolean)
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", { class: "number" }, value))),
  );
}

function bindKeys(signal, id, picture) {
  bind(signal, {
    j: ["older alert", () => goTo(beside(id)[1])],
    k: ["newer alert", () => goTo(beside(id)[0])],
    m: ["mask on or off", () => picture.toggleMask()],
    1: ["the view", () => picture.mode("view")],
    2: ["the snapshot", () => picture.mode("snapshot")],
    3: ["the clip", () => picture.mode("clip")],
    u: ["back to the list", () => go("#/alerts")],
  });
}
