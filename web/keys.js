// keys: the page by keyboard. Single letters, never while somebody types.
import { h, replace } from "./dom.js";

const EVERYWHERE = [["?", "this help"], ["l", "list of experiments"], ["n", "new experiment"]];
const LIST = [["/", "search"], ["j, k", "next, previous experiment"], ["Enter", "open it"]];
const CHART = [["drag", "look closer"], ["double-click", "back to all of it"]];
const RASTER = [["←, →", "move along the neurons"], ["+, -", "closer, wider"], ["Esc", "all neurons"]];

let pageKeys = {};
let dialog = null;

function section(title, keys) {
  return [h("h3", {}, title), h("dl", { class: "keys" }, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]))];
}

function help() {
  if (!dialog) {
    dialog = h("dialog", { class: "help-sheet", "aria-label": "Keys" });
    replace(dialog, h("h2", {}, "Keys"), section("Everywhere", EVERYWHERE), section("In the list", LIST), section("In a chart", CHART), section("In a raster that was clicked", RASTER),
      h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")));
    document.body.append(dialog);
  }
  if (!dialog.open) dialog.showModal();
}

const common = {
  "?": help,
  l: () => { location.hash = "#/"; },
  n: () => { location.hash = "#/new"; },
};

/** What the page that is open does with single keys; {} when it is left. */
export function setKeys(keys) { pageKeys = keys; }

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog")) return;
  const work = pageKeys[e.key] ?? common[e.key];
  if (!work) return;
  e.preventDefault();
  work();
});
