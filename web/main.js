// main: which page stands at which address, and the state of the connection.
import { h, replace, setText } from "./dom.js";
import { hashPath } from "./address.js";
import { read } from "./api.js";
import { setKeys } from "./keys.js";
import { listPage } from "./list_page.js";
import { experimentPage } from "./experiment_page.js";
import { newPage } from "./new_page.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
let leave = () => {};
let visit = 0;

/** What every page gets. alive() is false once another page was opened. */
function context() {
  const mine = ++visit;
  return {
    root: main,
    alive: () => mine === visit,
    link: (up) => {
      link.classList.toggle("up", up);
      setText(link, up ? "live" : "reconnecting");
    },
    slots: showSlots,
    keys: (keys) => { if (mine === visit) setKeys(keys); },
  };
}

async function showSlots() {
  try {
    const { data } = await read("/queue");
    setText(document.getElementById("slots"),
      `${data.running} of ${data.slots} slots busy${data.queued ? `, ${data.queued} waiting` : ""}${data.draining ? ", draining" : data.paused ? ", paused" : ""}`);
  } catch { /* the next page or event tries again */ }
}

async function route() {
  leave();
  leave = () => {};
  setKeys({});
  const [page, id] = hashPath();
  const name = page === "experiments" && id ? "experiment" : page === "new" ? "new" : "list";
  for (const a of document.querySelectorAll("[data-nav]")) {
    if (a.dataset.nav === name) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const ctx = context();
  replace(main, h("p", { class: "empty" }, "Loading …"));
  try {
    const close = name === "experiment" ? await experimentPage(ctx, id)
      : name === "new" ? await newPage(ctx, id) : await listPage(ctx);
    if (ctx.alive()) leave = close;
    else close();
  } catch (problem) {
    if (ctx.alive()) {
      replace(main, h("p", { class: "empty" }, problem.message), h("p", { class: "empty" },
        h("button", { onclick: route }, "Try again")));
    }
  }
  showSlots();
}

window.addEventListener("hashchange", route);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", route);
route();
