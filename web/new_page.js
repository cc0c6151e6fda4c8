// new_page: write a spec, check it while typing, submit it.
import { h, replace, notify } from "./dom.js";
import { dryRun, read, submit } from "./api.js";
import * as format from "./format.js";
import quickstart from "../examples/quickstart.json";
import fashionPsn from "../examples/fashion-mnist-psn.json";
import fashionPlif from "../examples/fashion-mnist-plif.json";
import mnistLif from "../examples/mnist-lif.json";
import sewResnet from "../examples/glyphs-sew-resnet.json";
import movingGlyphs from "../examples/moving-glyphs-plif.json";
import nMnist from "../examples/n-mnist-plif.json";
import recall from "../examples/delayed-recall-psn.json";

const EXAMPLES = [quickstart, sewResnet, movingGlyphs, recall, fashionPsn, fashionPlif, mnistLif, nMnist];

function pretty(value) {
  // Short lists and objects stay on one line: a layer a line.
  const text = JSON.stringify(value, null, 2);
  return text.replace(/[[{][^[\]{}]*[\]}]/g, (part) => {
    const line = part.replace(/\s*\n\s*/g, " ");
    return line.length <= 100 ? line : part;
  });
}

function layersTable(data) {
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Layer"), h("th", {}, "Type"),
    h("th", { class: "num" }, "Output"), h("th", { class: "num" }, "Parameters"))),
  h("tbody", {}, data.layers.map((l) => h("tr", {}, h("td", {}, l.path), h("td", {}, l.type),
    h("td", { class: "num" }, l.shape ? l.shape.join(" × ") : "?"),
    h("td", { class: "num" }, l.parameters === null ? "?" : format.count(l.parameters)))))));
}

function faultList(problem) {
  return h("div", { class: "faults" }, h("p", {}, problem.message),
    h("ul", {}, problem.faults.map((f) => h("li", {}, h("code", {}, f.pointer || "/"), " ", f.detail))));
}

async function startText(id) {
  if (!id) return pretty(quickstart);
  const { data } = await read(`/experiments/${Number(id)}`);
  return pretty(data.spec);
}

export async function newPage(ctx, from) {
  const text = await startText(from);
  if (!ctx.alive()) return () => {};
  document.title = "New experiment · spiked";
  let timer = 0;
  const verdict = h("div", { class: "verdict" });
  const area = h("textarea", { spellcheck: "false", autocomplete: "off", "aria-label": "Experiment spec, JSON", value: text,
    oninput: () => { clearTimeout(timer); timer = setTimeout(check, 400); } });
  const send = h("button", { class: "primary", onclick: start }, "Submit");
  const pick = h("select", { "aria-label": "Start from an example",
    onchange: () => { area.value = pretty(EXAMPLES[pick.value]); check(); } },
  EXAMPLES.map((e, i) => h("option", { value: String(i) }, e.name)));

  async function check() {
    const asked = area.value;
    try {
      const data = await dryRun(asked);
      if (asked !== area.value) return;
      replace(verdict, h("p", { class: "ok" }, "This spec is valid", data.parameters !== null
        ? `: ${format.count(data.parameters)} parameters.` : ". Its dataset is a folder: shapes are known when it runs."),
      layersTable(data));
      send.disabled = false;
    } catch (problem) {
      if (asked !== area.value) return;
      replace(verdict, faultList(problem));
      send.disabled = true;
    }
  }

  async function start() {
    send.disabled = true;
    try {
      const x = await submit(area.value);
      location.hash = `#/experiments/${x.id}`;
    } catch (problem) {
      replace(verdict, faultList(problem));
      notify(problem.message);
      send.disabled = false;
    }
  }

  replace(ctx.root, h("div", { class: "bar-top" }, h("h1", {}, "New experiment"), h("span", { class: "grow" }),
    h("label", { class: "quiet" }, "Example ", pick), send),
  h("div", { class: "split" }, h("div", { class: "card" }, area),
    h("div", { class: "card" }, h("h2", {}, "Check"), verdict)),
  h("p", { class: "quiet" }, "The same from a shell: ", h("code", {}, `curl -s --data @spec.json ${location.origin}/api/v1/experiments`)));
  await check();
  return () => clearTimeout(timer);
}
