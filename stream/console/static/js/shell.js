// The frame round all pages: where to go, how the watch is doing, and the plain word where nothing can be trusted.
import { post, session, url } from "./api.js";
import { button, h, icon, replace, setText } from "./dom.js";
import { bind, showKeys } from "./keys.js";
import { go } from "./router.js";
import { state } from "./state.js";
import { stream } from "./stream.js";
import { nextTheme, themeName } from "./theme.js";
import { localTime } from "./time.js";
import { troublesNode } from "./troubles.js";

const TABS = [
  ["wall", "Wall", "grid", "w"],
  ["alerts", "Alerts", "bell", "a"],
  ["cluster", "Cluster", "servers", "c"],
  ["jobs", "Jobs", "clock", "j"],
  ["audit", "Audit", "list", "u"],
];

/** @returns {{ node: HTMLElement, main: HTMLElement, here: (name: string) => void }} */
export function makeShell() {
  const counts = { alerts: counter(), cluster: counter() };
  const links = new Map(
    TABS.map(([name, text, picture]) => [
      name,
      h(
        "a",
        { href: `#/${name}`, class: "tab" },
        icon(picture),
        h("span", null, text),
        counts[name] ?? null,
      ),
    ]),
  );
  const main = h("main", { id: "main", tabindex: "-1" });
  const veil = h("div", { class: "veil", hidden: true, role: "alert" });
  const node = h("div", { class: "shell" }, skipLink(main), header(links), troublesNode(), main, veil);
  followCount(counts.alerts);
  followCluster(links.get("cluster"), counts.cluster);
  followConnection(main, veil);
  TABS.filter(([name]) => name !== "cluster").forEach(bindTab);
  return { node, main, here: (name) => mark(links, name) };
}

const counter = () => h("span", { class: "count", hidden: true });

const bindTab = ([name, text, , key]) => bind(null, { [`g ${key}`]: [`go to ${text}`, () => go(`#/${name}`)] });

function skipLink(main) {
  const jump = (event) => {
    event.preventDefault(); // the hash is the address of the page
    main.focus();
  };
  return h("a", { href: "#main", class: "skip", onclick: jump }, "Skip to the page");
}

function header(links) {
  return h(
    "header",
    { class: "top" },
    h(
      "a",
      { href: "#/wall", class: "brand" },
      h("img", { src: "/static/favicon.svg", alt: "", width: 26, height: 26 }),
      h("span", null, "spade-stream"),
    ),
    h("nav", { class: "tabs", "aria-label": "Pages" }, [...links.values()]),
    h(
      "div",
      { class: "tools" },
      themeButton(),
      button([icon("help"), h("span", { class: "visually-hidden" }, "Keys")], showKeys, {
        class: "button quiet square",
        title: "Keys (?)",
      }),
      signOut(),
    ),
  );
}

function themeButton() {
  const name = h("span", { class: "visually-hidden" });
  const node = button([icon("moon"), name], () => (nextTheme(), tell()), { class: "button quiet square theme" });
  const tell = () => {
    setText(name, `Theme: ${themeName()}`);
    node.title = `Theme: ${themeName()}`;
  };
  tell();
  return node;
}

function signOut() {
  const end = async () => {
    session.dispatchEvent(new CustomEvent("leaving"));
    await post(url`logout`).catch(() => undefined); // a session that is gone already is what was wanted
    session.dispatchEvent(new CustomEvent("signedout", { detail: { auth: state.me?.auth } }));
  };
  const who = state.me?.user ?? "";
  return button(
    [icon("out"), h("span", { class: "user" }, who), h("span", { class: "visually-hidden" }, "Sign out")],
    end,
    { class: "button quiet", title: `Sign out ${who}` },
  );
}

function followCount(count) {
  const tell = () => {
    count.hidden = state.open === 0;
    setText(count, state.open > 999 ? "999+" : String(state.open));
    count.title = `${state.open} not reviewed`;
    document.title = state.open ? `(${state.open}) spade-stream` : "spade-stream";
  };
  state.addEventListener("open", tell);
  tell();
}

/** A run of one machine has no such page. */
function followCluster(tab, count) {
  tab.hidden = true;
  let isBound = false;
  state.addEventListener("cluster", ({ detail: cluster }) => {
    tab.hidden = !cluster;
    if (cluster && !isBound) bindTab(TABS.find(([name]) => name === "cluster"));
    isBound ||= Boolean(cluster);
    count.hidden = !cluster?.troubles;
    setText(count, String(cluster?.troubles ?? ""));
    count.title = "Nodes, workers and outboxes that are not as they should be";
  });
}

function followConnection(main, veil) {
  stream.addEventListener("connection", () => {
    veil.hidden = stream.connected;
    main.inert = !stream.connected;
    document.body.classList.toggle("unconnected", !stream.connected);
    if (stream.connected) return;
    const since = localTime(new Date(stream.lostAt).toISOString());
    replace(
      veil,
      h(
        "div",
        { class: "veil-card" },
        icon("warning"),
        h("strong", null, "No connection to the console"),
        h("p", null, `Nothing on this page is live since ${since}. Trying again until it answers.`),
      ),
    );
  });
}

function mark(links, name) {
  const at = { alert: "alerts", camera: "wall" }[name] ?? name;
  for (const [key, node] of links) {
    if (key === at) node.setAttribute("aria-current", "page");
    else node.removeAttribute("aria-current");
  }
}
