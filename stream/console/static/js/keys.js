// Keys: what they do here, and the sheet that shows them. Nothing happens while somebody types in a field.
import { button, h } from "./dom.js";

/** @typedef {{ keys: string, text: string, action: () => void }} Key */

/** @type {Set<Key>} */
const bound = new Set();
let first = ""; // of a pair such as "g w"
let forget = 0;

/**
 * Binds keys for as long as the signal lasts.
 * @param {AbortSignal|null} signal null: for ever
 * @param {Record<string, [string, () => void]>} keys by key ("j", "Enter", "g w"): what it does in words, and that
 */
export function bind(signal, keys) {
  for (const [name, [text, action]] of Object.entries(keys)) {
    const key = { keys: name, text, action };
    bound.add(key);
    signal?.addEventListener("abort", () => bound.delete(key));
  }
}

/** Begins to listen; once a page. */
export function listen() {
  bind(null, { "?": ["show these keys", showKeys] });
  document.addEventListener("keydown", pressed);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open], main[inert]")) return;
  if (isTyping(event.target)) return;
  const isControl =
    event.target instanceof Element && event.target.closest("button, a, summary, input, [role=application]");
  if (event.key === "Enter" && isControl) return; // it has an action of its own
  const key = find(first ? `${first} ${event.key}` : event.key);
  clearTimeout(forget);
  if (!key && !first && [...bound].some((each) => each.keys.startsWith(`${event.key} `))) {
    first = event.key;
    forget = setTimeout(() => (first = ""), 1200); // ms to press the second one
    return;
  }
  first = "";
  if (!key) return;
  event.preventDefault();
  key.action();
}

/** The latest one wins: a panel's key goes before its page's. */
const find = (keys) => [...bound].reverse().find((each) => each.keys === keys);

function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Shows which keys do something on this page. */
export function showKeys() {
  const seen = new Set();
  const rows = [...bound]
    .reverse()
    .filter((key) => !seen.has(key.keys) && seen.add(key.keys))
    .reverse();
  const dialog = h(
    "dialog",
    { class: "sheet", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, "Keys on this page"),
    h(
      "dl",
      { class: "keys" },
      rows.map((key) => h("div", null, h("dt", null, caps(key.keys)), h("dd", null, key.text))),
    ),
    button("Close", () => dialog.close(), { class: "button primary", autofocus: true }),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

const caps = (keys) => keys.split(" ").map((key) => h("kbd", null, key));
