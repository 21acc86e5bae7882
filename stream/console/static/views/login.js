// The login: a user and a password, or the token that the program printed when it started.
import { post, url } from "../js/api.js";
import { button, h, replace } from "../js/dom.js";

/**
 * @param {HTMLElement} root
 * @param {{ auth: string, entered: (me: any) => void }} how auth: "users", "token", or "" where it is not known
 */
export function loginPage(root, { auth, entered }) {
  const problem = h("p", { class: "problem", role: "alert" });
  let byToken = auth === "token";
  const form = h("form", { class: "login-form" });
  const fill = () =>
    replace(
      form,
      byToken ? tokenFields() : userFields(),
      problem,
      h("button", { type: "submit", class: "button primary wide" }, "Sign in"),
      auth ? null : other(),
    );
  const other = () =>
    button(
      byToken ? "Sign in with user and password" : "Sign in with a token",
      () => ((byToken = !byToken), replace(problem), fill(), focusFirst(form)),
      { class: "button quiet wide" },
    );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    signIn(form, problem, entered);
  });
  fill();
  replace(
    root,
    h(
      "main",
      { class: "login alone" },
      h(
        "div",
        { class: "login-card" },
        h("img", { src: "/static/favicon.svg", alt: "", width: 40, height: 40 }),
        h("h1", null, "spade-stream"),
        h("p", { class: "muted" }, "Sign in to see the cameras."),
        form,
      ),
    ),
  );
  focusFirst(form);
}

const focusFirst = (form) => form.querySelector("input")?.focus();

function userFields() {
  return [
    field("User", { name: "user", autocomplete: "username", autocapitalize: "none", spellcheck: "false" }),
    field("Password", { name: "password", type: "password", autocomplete: "current-password" }),
  ];
}

function tokenFields() {
  return [
    field("Token", { name: "token", type: "password", autocomplete: "off" }),
    h(
      "p",
      { class: "hint" },
      "spade-stream prints a link with a token when it starts. It also stands in the file run/console-token in its state folder.",
    ),
  ];
}

function field(label, attributes) {
  return h("label", { class: "field" }, h("span", null, label), h("input", { required: true, ...attributes }));
}

async function signIn(form, problem, entered) {
  const submit = form.querySelector("[type=submit]");
  submit.disabled = true;
  replace(problem);
  try {
    entered(await post(url`login`, Object.fromEntries(new FormData(form))));
  } catch (error) {
    replace(problem, error.message);
    submit.disabled = false;
    form.querySelector("input:last-of-type")?.select();
  }
}
