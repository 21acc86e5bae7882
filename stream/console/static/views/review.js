// What a person can say of an alert: real, false alarm, normal; and how to take that back.
import { post, url } from "../js/api.js";
import { announce, button, h, replace, setText, toast } from "../js/dom.js";
import { bind } from "../js/keys.js";
import { reviewChip, reviewWord } from "../js/words.js";
import { normalPanel } from "./normal.js";

/**
 * @param {any} alert
 * @param {import("./alert_picture.js").AlertPicture} picture
 * @param {{ signal: AbortSignal, changed: (news: any) => void, reload: () => Promise<void> }} how
 * @returns {{ node: HTMLElement, normal: HTMLElement, show: () => void }}
 */
export function reviewPanel(alert, picture, { signal, changed, reload }) {
  const node = h("section", { class: "panel review-panel", "aria-label": "Review" });
  const normal = h("div", { class: "normal-place" });
  const note = h("input", { name: "note", maxlength: 500, placeholder: "Optional" });
  const refused = h("p", { class: "problem", role: "alert" });
  const say = async (verdict) => {
    setText(refused, "");
    const expected = { review: alert.review, reviewed_at: alert.reviewed_at };
    try {
      const news = await post(url`alerts/${alert.alert_id}/review`, { verdict, note: note.value, expected });
      changed(news);
      announce(`Reviewed: ${reviewWord(verdict)}`);
      show();
    } catch (error) {
      if (error.status !== 409) return toast(error.message, "bad");
      await reload().catch(() => undefined);
      show();
      setText(refused, meanwhile(alert));
    }
  };
  const openNormal = () => {
    if (normal.firstChild || alert.elsewhere) return;
    const close = () => (replace(normal), picture.choosable(null), show());
    replace(normal, normalPanel(alert, picture, { signal, close, changed: (news) => (changed(news), show()) }));
    normal.querySelector("button, input")?.focus({ preventScroll: true });
    normal.scrollIntoView({ block: "nearest" });
  };
  const show = () =>
    replace(
      node,
      h("div", { class: "panel-head" }, h("h2", null, "Your review"), reviewChip(alert)),
      h(
        "div",
        { class: "verdicts" },
        verdict("Real", "r", "real", alert, say),
        verdict("False alarm", "f", "false", alert, say),
        button(["This is normal", h("kbd", null, "n")], openNormal, {
          class: "button",
          "aria-pressed": String(alert.review === "normal"),
          disabled: Boolean(alert.elsewhere),
        }),
      ),
      alert.elsewhere ? h("p", { class: "hint" }, keptElsewhere(alert.elsewhere)) : null,
      refused,
      h("label", { class: "field" }, h("span", null, "Note"), note),
      alert.review === "open" ? null : button("Take back", () => say("open"), { class: "button quiet small" }),
      h(
        "p",
        { class: "hint" },
        "Real and false alarm are noted, nothing else. Normal adds it to what the camera takes for normal.",
      ),
    );
  show();
  bind(signal, {
    r: ["real", () => say("real")],
    f: ["false alarm", () => say("false")],
    n: ["this is normal", openNormal],
    z: ["take the review back", () => say("open")],
  });
  return { node, normal, show };
}

/** Why it cannot be called normal here. */
const keptElsewhere = ({ node, outbox }) =>
  `It cannot be called normal here: the frame and the clean view stay on the disk of the machine that scored it, ${node || `the one with outbox ${outbox}`}.`;

/** Why a review was not taken. */
function meanwhile({ review, reviewed_by: by, note }) {
  const said = note ? ` (“${note}”)` : "";
  const who = by ?? "Somebody else";
  const what = review === "open" ? "Somebody took the review back" : `${who} reviewed it as ${reviewWord(review)}${said}`;
  return `${what} meanwhile, so yours was not taken. Review it again if you see it otherwise.`;
}

function verdict(text, key, value, alert, say) {
  return button([text, h("kbd", null, key)], () => say(value), {
    class: "button",
    "aria-pressed": String(alert.review === value),
  });
}
