// Begins: who is it, then the frame round all pages, then the page that the address names.
import { ApiError, abandon, get, session, setCsrf, url } from "./api.js";
import { h, replace } from "./dom.js";
import { listen } from "./keys.js";
import { place } from "./router.js";
import { makeShell } from "./shell.js";
import { followStream, state } from "./state.js";
import { stream } from "./stream.js";
import { alertPage } from "../views/alert.js";
import { alertsPage } from "../views/alerts.js";
import { auditPage } from "../views/audit.js";
import { cameraPage } from "../views/camera.js";
import { clusterPage } from "../views/cluster.js";
import { jobsPage } from "../views/jobs.js";
import { loginPage } from "../views/login.js";
import { wallPage } from "../views/wall.js";

/** @type {Record<string, import("./router.js").Page>} */
const PAGES = {
  wall: wallPage,
  alerts: alertsPage,
  alert: alertPage,
  camera: cameraPage,
  cluster: clusterPage,
  jobs: jobsPage,
  audit: auditPage,
};
const NEEDS_LIVE = new Set(["wall", "camera"]);

const app = document.getElementById("app");
/** @type {ReturnType<typeof makeShell>|null} */
let shell = null;
let leave = new AbortController();

async function begin() {
  try {
    state.me = await get(url`me`);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) showFailure(error);
    return; // 401: "signedout" has shown the login
  }
  setCsrf(state.me.csrf);
  enter();
}

function enter() {
  shell ??= makeShell();
  replace(app, shell.node);
  stream.start();
  show();
}

function show() {
  if (!shell || !state.me) return;
  leave.abort();
  leave = new AbortController();
  const { name, params, query } = place();
  const page = PAGES[name] ?? wallPage;
  if (!NEEDS_LIVE.has(name)) stream.watch([]);
  const root = h("div", { class: `page page-${name}` });
  replace(shell.main, root);
  shell.here(name);
  scrollTo(0, 0);
  const context = { params, query, signal: leave.signal };
  Promise.resolve(page(root, context)).catch((error) => showPageFailure(root, error));
}

function showPageFailure(root, error) {
  if (error.name === "AbortError" || error.status === 401) return;
  replace(root, failure(error, show));
}

function failure(error, again) {
  const words = error instanceof ApiError ? error.message : "This page failed. Reload it; if it stays so, report it.";
  if (!(error instanceof ApiError)) console.error(error);
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("h1", null, "This did not work"),
    h("p", null, words),
    h("button", { type: "button", class: "button primary", onclick: again }, "Try again"),
  );
}

function showFailure(error) {
  replace(
    app,
    h(
      "main",
      { class: "alone" },
      failure(error, () => location.reload()),
    ),
  );
}

/** Asks the server nothing more: what arrives there after the session has ended is refused, and reads like a fault. */
function fallSilent() {
  leave.abort();
  stream.stop();
  abandon();
  app.querySelectorAll("img").forEach((picture) => picture.removeAttribute("src"));
}

function showLogin(detail) {
  fallSilent();
  state.me = null;
  // A second user in one page would see what the first one left in it, so that begins anew.
  const entered = () => (shell ? location.reload() : begin());
  loginPage(app, { auth: detail?.auth ?? "", entered });
}

session.addEventListener("leaving", fallSilent);
session.addEventListener("signedout", (event) => {
  if (state.me || !document.querySelector(".login")) showLogin(event.detail);
});
addEventListener("hashchange", show);
followStream();
listen();
begin();
