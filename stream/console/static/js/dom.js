// Builds DOM nodes. Everything that came from the server goes in as text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element. `on…` attributes are listeners, `style` is an object of properties (set one by one: the content
 * security policy forbids style attributes), true is an attribute without a value, null and false are left out.
 * @param {string} tag
 * @param {Record<string, any>|null} [attributes]
 * @param {...any} children nodes, texts, lists of them; null and false are left out
 */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. @param {string} tag @param {Record<string, any>|null} [attributes] @param {...any} children */
export function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([key, each]) => node.style.setProperty(key, each));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...present(children));
  return node;
}

function present(children) {
  return children.flat(3).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts these in the place of all that a node holds. @param {Element} node @param {...any} children */
export function replace(node, ...children) {
  node.replaceChildren(...present(children));
  return node;
}

/** Sets a text only where it differs, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  eyeOff:
    "M3 3l18 18M10.6 5.1A10 10 0 0 1 12 5c6 0 9.5 7 9.5 7a16 16 0 0 1-3 3.7M6.5 6.6A16 16 0 0 0 2.5 12S6 19 12 19c1.7 0 3.2-.5 4.5-1.3M9.9 9.9a3 3 0 0 0 4.2 4.2",
  bell: "M18 9a6 6 0 1 0-12 0c0 6-2.5 7-2.5 7h17S18 15 18 9M10 20a2.2 2.2 0 0 0 4 0",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  servers: "M4 4h16v6H4zM4 14h16v6H4zM7.500 7h.01M7.500 17h.01M11 7h6M11 17h6",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3.5 2",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.500z",
  help: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M9.5 9.300a2.6 2.6 0 1 1 3.7 2.400c-.8.4-1.2.9-1.2 1.800M12 16.800h.01",
  gear: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  check: "M5 12.5l4.5 4.500L19 7.5",
  warning: "M12 4l9.5 16h-19zM12 10v4.500M12 17.300h.01",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
};

/** A line icon beside a text that says the same. @param {keyof typeof ICONS} name */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** A button. @param {any} content @param {() => void} action @param {Record<string, any>} [attributes] */
export function button(content, action, attributes) {
  return h("button", { type: "button", class: "button", onclick: action, ...attributes }, content);
}

/** Says something to screen readers. @param {string} text */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** A short message at the edge of the page that goes by itself. @param {string} text @param {"plain"|"bad"} [kind] */
export function toast(text, kind = "plain") {
  const node = h("div", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), kind === "bad" ? 9000 : 4500); // ms: an error takes longer to read
}
