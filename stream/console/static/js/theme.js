// What a viewer chose for this browser: the theme, and what lies over the pictures. Nothing of it goes to the server.

/** @param {string} name @returns {string|null} */
export function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage is blocked: every page begins with the defaults
  }
}

/** @param {string} name @param {string|null} value null forgets it */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // the choice holds until the page is closed
  }
}

const ORDER = [null, "light", "dark"];

/** @returns {string} what is chosen, in words */
export function themeName() {
  return { light: "light", dark: "dark" }[remembered("theme") ?? ""] ?? "as the system";
}

/** Goes on to the next of: as the system, light, dark. */
export function nextTheme() {
  const place = ORDER.indexOf(remembered("theme"));
  remember("theme", ORDER[(place + 1) % ORDER.length]);
  dispatchEvent(new Event("themechange"));
}
