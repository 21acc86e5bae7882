// Hash routes. A page is a function (root, context) that fills root; leaving it aborts context.signal, which takes
// its listeners, keys and requests along.

/** @typedef {{ params: string[], query: URLSearchParams, signal: AbortSignal }} Context */
/** @typedef {(root: HTMLElement, context: Context) => (void|Promise<void>)} Page */

/** @returns {{ name: string, params: string[], query: URLSearchParams }} */
export function place() {
  const [path, words = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  const [name = "wall", ...params] = parts;
  return { name: name === "alerts" && params.length ? "alert" : name, params, query: new URLSearchParams(words) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a half percent sign, typed by hand
  }
}

/** A link to a page: link`camera/${id}`. */
export function link(parts, ...values) {
  return `#/${parts.reduce((left, right, index) => left + encodeURIComponent(String(values[index - 1])) + right)}`;
}

/** Changes the words behind the question mark, without a new page. @param {Record<string, string>} words */
export function setQuery(words) {
  const given = Object.entries(words).filter(([, value]) => value);
  const path = location.hash.split("?")[0] || "#/wall";
  history.replaceState(null, "", given.length ? `${path}?${new URLSearchParams(given)}` : path);
}

/** Goes to a page. @param {string} hash as `link` makes it */
export function go(hash) {
  location.hash = hash;
}
