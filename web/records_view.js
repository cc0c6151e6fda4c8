// records_view: the spikes of an experiment: choose a layer and a moment, see its records.
import { h, replace, setText } from "./dom.js";
import { read, segment } from "./api.js";
import { RasterView } from "./raster.js";
import { matrix, traces } from "./spikes.js";
import * as format from "./format.js";

const PICTURES = { membrane: traces, psn_weight: matrix };
const TITLES = { raster: "Spike raster", membrane: "Membrane potential", psn_weight: "PSN weights" };
export const KINDS = Object.keys(TITLES); // in the order of the page

/** One kind of record: layer chooser, slider over the records, picture. */
export class RecordsView {
  constructor(id, kind) {
    this.id = id;
    this.kind = kind;
    this.layers = new Map(); // layer -> number of records
    this.layer = null;
    this.index = -1; // -1 = follow the newest
    this.asked = 0;
    this.raster = kind === "raster" ? new RasterView() : null; // keeps what is looked at from record to record
    this.pick = h("select", { "aria-label": "Layer", onchange: () => { this.layer = this.pick.value; if (this.raster) this.raster.window = null; this.show(); } });
    this.slider = h("input", { type: "range", min: 0, max: 0, value: "0", "aria-label": "Record", oninput: () => this.seek() });
    this.caption = h("span", { class: "quiet" });
    this.box = h("div", { class: "picture" });
    this.node = h("section", { class: "card", dataset: { kind } }, h("div", { class: "bar-top" },
      h("h2", {}, TITLES[kind] || kind), h("span", { class: "grow" }), h("label", { class: "quiet" }, "layer ", this.pick)),
    this.box, h("div", { class: "bar-top" }, this.slider, this.caption));
  }

  /** Another record came up; total records of that layer. */
  grow(layer, records) {
    const known = this.layers.has(layer);
    this.layers.set(layer, Math.max(records, this.layers.get(layer) || 0));
    if (!known) {
      const names = [...this.layers.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      replace(this.pick, names.map((n) => h("option", { value: n }, n)));
      this.layer = this.layer ?? names[0];
      this.pick.value = this.layer;
    }
    if (layer === this.layer && this.index < 0) this.show();
  }

  seek() {
    const last = this.layers.get(this.layer) - 1;
    const at = Number(this.slider.value);
    this.index = at >= last ? -1 : at;
    this.show();
  }

  async show() {
    const last = this.layers.get(this.layer) - 1;
    const index = this.index < 0 ? last : Math.min(this.index, last);
    this.slider.max = String(last);
    this.slider.value = String(index);
    this.slider.hidden = last < 1;
    const asked = ++this.asked;
    try {
      const { data } = await read(`/experiments/${this.id}/monitors/${segment(this.layer)}/${this.kind}/${index}`);
      if (asked === this.asked) this.draw(data);
    } catch (problem) {
      if (asked === this.asked) replace(this.box, h("p", { class: "empty" }, problem.message));
    }
  }

  draw(record) {
    this.record = record;
    const width = Math.max(240, this.box.clientWidth - 2);
    let extra = "";
    if (this.raster) {
      extra = `, ${format.percent(this.raster.show(record, width))} of neurons and time-steps fire`;
      if (this.box.firstChild !== this.raster.node) replace(this.box, this.raster.node);
    } else replace(this.box, PICTURES[this.kind](record, width));
    setText(this.caption, `epoch ${record.epoch}, step ${format.count(record.step)}${extra}`);
  }
}
