// chart: line charts over training steps, on uPlot.
import uPlot from "uplot";
import { h, cssColor } from "./dom.js";
import * as format from "./format.js";

export const PALETTE = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6", "--line-7", "--line-8"];
const HEIGHT = 220;

/** A chart in a card. lines: () => [{label, name, color, points}] is asked again when series come up. */
export class LineChart {
  constructor(title, store, lines, { min, max, unit = "" } = {}) {
    this.store = store;
    this.lines = lines;
    this.range = { min, max };
    this.unit = unit;
    this.plot = null;
    this.shape = "";
    this.box = h("div", { class: "plot" });
    this.empty = h("p", { class: "empty" }, "no points yet");
    this.node = h("section", { class: "card chart", dataset: { title } }, h("h2", {}, title,
      unit ? h("span", { class: "quiet" }, ` ${unit}`) : null), this.box, this.empty);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
  }

  options(lines) {
    const axis = { stroke: cssColor("--quiet"), grid: { stroke: cssColor("--grid"), width: 1 },
      ticks: { stroke: cssColor("--grid"), width: 1 }, font: "12px system-ui, sans-serif" };
    const { min, max } = this.range;
    return {
      width: Math.max(200, this.box.clientWidth),
      height: HEIGHT,
      scales: { x: { time: false }, y: { range: (u, lo, hi) => range(lo, hi, min, max) } },
      axes: [{ ...axis, size: 34, values: (u, v) => v.map(format.count) },
        { ...axis, size: 56, values: (u, v) => v.map(format.number) }],
      legend: { live: true },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      series: [{ label: "step", value: (u, v) => (v === null ? "–" : format.count(v)) }, ...lines.map((l) => ({
        label: l.label, stroke: cssColor(l.color), width: l.points ? 2 : 1.25, spanGaps: true,
        points: { show: Boolean(l.points), size: 5, fill: cssColor(l.color) },
        value: (u, v) => (v === null || v === undefined ? "–" : format.number(v)),
      }))],
    };
  }

  draw() {
    const lines = this.lines().filter((l) => this.store.get(l.name).x.length > 0);
    this.empty.hidden = lines.length > 0;
    if (lines.length === 0) return;
    const tables = lines.map((l) => { const s = this.store.get(l.name); return [s.x, s.y]; });
    const data = tables.length === 1 ? tables[0] : uPlot.join(tables);
    const shape = lines.map((l) => l.name).join("\n");
    if (this.plot && this.shape === shape) {
      this.plot.setData(data);
      return;
    }
    if (this.plot) this.plot.destroy();
    this.shape = shape;
    this.plot = new uPlot(this.options(lines), data, this.box);
  }

  resize() {
    const width = Math.max(200, this.box.clientWidth);
    if (this.plot && Math.abs(this.plot.width - width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  close() {
    this.observer.disconnect();
    if (this.plot) this.plot.destroy();
  }
}

function range(lo, hi, min, max) {
  if (lo === null || hi === null) return [min ?? 0, max ?? 1];
  const room = (hi - lo) * 0.06 || Math.abs(hi) * 0.1 || 0.1;
  return [Math.max(min ?? -Infinity, lo - room), Math.min(max ?? Infinity, hi + room)];
}
