// profile_view: where the time of a training step goes, layer by layer.
import { h, replace, setText } from "./dom.js";
import * as format from "./format.js";

const SMALL_SHARE = 0.005; // of a step: not worth a look

const ms = (x) => (typeof x === "number" ? x.toFixed(x < 0.1 ? 3 : x < 10 ? 2 : x < 100 ? 1 : 0) : "–");
const cost = (layer) => layer.forward_ms + layer.backward_ms;

/** How the products of a layer were done: forward, gradient of its input, gradient of its weights. */
function pathText(layer) {
  const paths = [layer.forward_path, layer.backward_data_path, layer.backward_weights_path];
  const known = paths.filter(Boolean);
  if (known.length === 0) return "";
  return new Set(known).size === 1 ? known[0] : paths.map((p) => p || "–").join(" / ");
}

function dot(color) {
  const d = h("span", { class: "dot" });
  d.style.setProperty("--dot", `var(${color})`); // a style attribute would need a weaker security policy
  return d;
}

/** Two stretches of one bar; widths are shares of the dearest layer. */
function bar(layer, dearest, label) {
  const stretch = (name, part) => {
    const s = h("span", { class: name });
    s.style.setProperty("--share", `${100 * part / dearest}%`);
    return s;
  };
  return h("div", { class: "cost", role: "img", "aria-label": label },
    stretch("forward", layer.forward_ms), stretch("backward", layer.backward_ms));
}

export class ProfileView {
  constructor() {
    this.note = h("span", { class: "quiet" });
    this.figures = h("dl", { class: "figures" });
    this.rows = h("tbody");
    const head = (text, title, kind) => h("th", { class: kind, title }, text);
    this.node = h("section", { class: "card profile", dataset: { title: "Profile" }, hidden: true },
      h("h2", {}, "Profile ", this.note), this.figures,
      h("div", { class: "scroll", tabindex: "0" }, h("table", {}, h("thead", {}, h("tr", {}, head("Layer"),
        head("Share of a step", "forward and backward; the dearest layer fills the bar", "cost"), head("Forward ms", "", "num"),
        head("Backward ms", "what is computed again included", "num"),
        head("Input density", "share of the layer's inputs that are not zero, in the last batch", "num wide"),
        head("Path", "forward / gradient of the input / gradient of the weights", "wide"))), this.rows)));
  }

  show(profile) {
    this.node.hidden = false;
    const many = (n, word) => `${format.count(n)} ${word}${n === 1 ? "" : "s"}`;
    setText(this.note, `median of ${many(profile.steps, "step")} up to step ${format.count(profile.step)} · `
      + `${many(profile.threads, "thread")}, ${profile.isa}`);
    const perSecond = 1000 * profile.samples / profile.step_ms;
    const rest = profile.step_ms - profile.forward_ms - profile.backward_ms - profile.optimizer_ms - profile.data_ms;
    replace(this.figures, [["whole step", `${ms(profile.step_ms)} ms`], [[dot("--line-1"), "forward"], `${ms(profile.forward_ms)} ms`],
      [[dot("--line-2"), "backward"], `${ms(profile.backward_ms)} ms`], ["optimiser", `${ms(profile.optimizer_ms)} ms`],
      ["data", `${ms(profile.data_ms)} ms`], ["loss, waiting", `${ms(Math.max(0, rest))} ms`], ["samples/s", format.count(Math.round(perSecond))],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    const dearest = Math.max(1e-9, ...profile.layers.map(cost));
    replace(this.rows, profile.layers.map((layer) => this.row(layer, profile.step_ms, dearest)));
  }

  row(layer, step, dearest) {
    const share = cost(layer) / step;
    const density = layer.input_density === undefined ? "" : format.percent(layer.input_density);
    const path = pathText(layer);
    const below = [density && `input ${density}`, path].filter(Boolean).join(" · ");
    return h("tr", { class: share < SMALL_SHARE ? "small" : null, dataset: { layer: layer.path } },
      h("td", {}, `${layer.path} ${layer.model ?? layer.type}`, below ? h("div", { class: "below quiet" }, below) : null),
      h("td", { class: "cost" }, bar(layer, dearest, `${format.percent(share)} of a step`),
        h("span", { class: "quiet" }, `${(100 * share).toFixed(1)} %`)),
      h("td", { class: "num" }, ms(layer.forward_ms)), h("td", { class: "num" }, ms(layer.backward_ms)),
      h("td", { class: "num wide" }, density), h("td", { class: "wide path" }, path));
  }
}
