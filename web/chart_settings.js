// chart_settings: how all charts of a page are drawn: axis, smoothing, scale, and the steps that are looked at closely.
// They stand in the address, so that a link shows what its sender saw.
import { h } from "./dom.js";
import { hashQuery, setHashQuery } from "./address.js";
import * as format from "./format.js";

const AXES = [["step", "steps"], ["epoch", "epochs"], ["time", "time"]];
const WEIGHT_MAX = 0.99;

function stepsOf(text) {
  const [from, to] = (text || "").split("-").map(Number);
  return from >= 0 && to > from ? { from, to } : null;
}

export class ChartSettings {
  /** onChange() after every change by hand. */
  constructor(onChange) {
    const query = hashQuery();
    this.axis = AXES.some(([name]) => name === query.get("x")) ? query.get("x") : "step";
    this.weight = Math.min(WEIGHT_MAX, Math.max(0, Number(query.get("smooth")) || 0));
    this.log = query.get("log") === "1";
    this.zoom = stepsOf(query.get("steps")); // {from, to} or null
    this.onChange = onChange;
    const axis = h("select", { onchange: () => this.set({ axis: axis.value }) },
      AXES.map(([value, label]) => h("option", { value, selected: value === this.axis }, label)));
    const weight = h("input", { type: "range", min: 0, max: WEIGHT_MAX, step: 0.01, value: String(this.weight),
      oninput: () => this.set({ weight: Number(weight.value) }) });
    const log = h("input", { type: "checkbox", checked: this.log, onchange: () => this.set({ log: log.checked }) });
    this.out = h("button", { onclick: () => this.set({ zoom: null }) });
    this.hint = h("span", { class: "quiet" }, "drag across a chart to look closer");
    this.node = h("div", { class: "chart-settings", role: "group", "aria-label": "Charts" }, h("label", {}, "over ", axis),
      h("label", { title: "exponential moving average; what was measured stays behind it, faint" }, "smoothing ", weight),
      h("label", { title: "of losses, gradient norms and time constants" }, log, " logarithmic"), this.out, this.hint);
    this.showZoom();
  }

  showZoom() {
    this.out.hidden = !this.zoom;
    this.hint.hidden = Boolean(this.zoom);
    if (this.zoom) this.out.textContent = `steps ${format.count(this.zoom.from)} to ${format.count(this.zoom.to)}: show all`;
  }

  set(change) {
    Object.assign(this, change);
    setHashQuery({
      x: this.axis === "step" ? "" : this.axis, smooth: this.weight ? String(this.weight) : "", log: this.log ? "1" : "",
      steps: this.zoom ? `${this.zoom.from}-${this.zoom.to}` : "",
    });
    this.showZoom();
    this.onChange();
  }
}
