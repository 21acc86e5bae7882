// Times for people: local, short, with the UTC time in the title.
import { h } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DAY_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

let offset = 0; // ms by which the server's clock is ahead of this one, as its answers say

/** Notes what the server's clock says. @param {string|null} date an HTTP date, in whole seconds */
export function noteServerDate(date) {
  const time = Date.parse(date ?? "");
  if (Number.isNaN(time)) return;
  const seen = time + 500 - Date.now(); // +500: the header leaves the part of a second out
  offset = Math.abs(seen) < 1500 ? 0 : seen; // less than that is the header's own grain and the way here
}

/** @returns {number} ms since 1970 by the server's clock */
export const serverNow = () => Date.now() + offset;

/** @param {string|null|undefined} iso @returns {string} e.g. "14:03:22", with the day where it is not today's */
export function localTime(iso) {
  if (!iso) return "–";
  const date = new Date(iso);
  const now = new Date(serverNow());
  if (date.toDateString() === now.toDateString()) return CLOCK.format(date);
  const day = date.getFullYear() === now.getFullYear() ? DAY : DAY_YEAR;
  return `${day.format(date)}, ${CLOCK.format(date)}`;
}

/** Hours and minutes, or the day, for the axis of a chart. @param {number} ms @param {boolean} withDay */
export function axisTime(ms, withDay) {
  const date = new Date(ms);
  return withDay ? DAY.format(date) : MINUTE.format(date);
}

/** @param {string|null|undefined} iso @returns {string} e.g. "2026-03-01 13:03:22.125 UTC" */
export const utcTime = (iso) => (iso ? `${iso.replace("T", " ").replace("Z", "")} UTC` : "");

/** A time element. @param {string|null|undefined} iso */
export function timeNode(iso) {
  return iso
    ? h("time", { datetime: iso, title: utcTime(iso), class: "number" }, localTime(iso))
    : h("span", null, "–");
}

/** @param {number} seconds @returns {string} e.g. "42 s", "3 min", "5 h", "2 d" */
export function span(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** @param {string} from ISO @param {string|null} [to] ISO; now where left out @returns {number} seconds */
export function secondsBetween(from, to) {
  return ((to ? Date.parse(to) : serverNow()) - Date.parse(from)) / 1000;
}
