// Silence for a while: the camera is still scored, but starts no alert.
import { put, remove, url } from "../js/api.js";
import { button, h, icon, replace, toast } from "../js/dom.js";
import { state } from "../js/state.js";
import { secondsBetween, serverNow, timeNode } from "../js/time.js";

const TIMES = [
  [15, "15 min"],
  [60, "1 h"],
  [480, "8 h"],
]; // minutes

/** @param {string} id of the camera @param {AbortSignal} signal */
export function snoozePanel(id, signal) {
  const body = h("div", { class: "panel-body" });
  let known = "";
  const show = () => {
    const camera = state.cameras.get(id);
    const now = `${camera?.snoozed_until} ${camera?.snooze_reason}`;
    if (now === known) return; // what somebody types stays
    known = now;
    const isSnoozed = camera?.snoozed_until && secondsBetween(camera.snoozed_until) < 0;
    replace(body, isSnoozed ? snoozed(id, camera) : form(id));
  };
  show();
  state.addEventListener("cameras", show, { signal });
  return h("section", { class: "panel" }, h("h2", null, "Snooze"), body);
}

function snoozed(id, camera) {
  return [
    h(
      "p",
      { class: "lead" },
      icon("clock"),
      " Snoozed until ",
      timeNode(camera.snoozed_until),
      camera.snooze_reason ? `: ${camera.snooze_reason}` : "",
    ),
    h("p", { class: "hint" }, "It is scored and its scores are kept, but no alert starts."),
    h(
      "div",
      { class: "buttons" },
      button("End the snooze", () => wake(id), { class: "button primary" }),
    ),
  ];
}

const wake = (id) => change(() => remove(url`cameras/${id}/snooze`), `${id} is watched again`);

function form(id) {
  const reason = h("input", { name: "reason", maxlength: 200, placeholder: "e.g. window cleaning" });
  const until = h("input", { type: "datetime-local", name: "until" });
  const snooze = (minutes) =>
    change(() => put(url`cameras/${id}/snooze`, { minutes, reason: reason.value }), `${id} is snoozed`);
  const byTime = () => {
    const minutes = Math.ceil((Date.parse(until.value) - serverNow()) / 60e3);
    if (minutes > 0) snooze(minutes);
    else toast("Give a time that is still to come.", "bad");
  };
  return [
    h("label", { class: "field" }, h("span", null, "Why"), reason),
    h(
      "div",
      { class: "buttons" },
      TIMES.map(([minutes, text]) => button(text, () => snooze(minutes))),
    ),
    h(
      "div",
      { class: "until" },
      h("label", { class: "field" }, h("span", null, "Until"), until),
      button("Snooze until then", byTime),
    ),
    h("p", { class: "hint" }, "No alert starts meanwhile; one that is going on ends."),
  ];
}

async function change(action, said) {
  try {
    await action();
    toast(said);
    await state.loadCameras();
  } catch (error) {
    toast(error.message, "bad");
  }
}
