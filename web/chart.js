// chart: line charts over training, on uPlot. A line that stands for more points than it has carries a band from the least
// to the largest of them; smoothing keeps what was measured behind it.
import uPlot from "uplot";
import { h, cssColor, replace } from "./dom.js";
import { Series, smooth } from "./series_store.js";
import * as format from "./format.js";

export const PALETTE = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6", "--line-7", "--line-8"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]]; // when colours come again
const HEIGHT = 220;
const ROWS_MAX = 200; // of the table
const POINTS_MAX = 1000; // of a line that is looked at closely
const SYNC = uPlot.sync("charts");
const CURSOR_ONLY = { pub: (type) => type === "mousemove" || type === "mouseleave", sub: () => true };

export class LineChart {
  /**
   * lines: () => [{label, name, color, points}], asked again when series come up; frame: {settings, axis(), fetch(name, zoom)},
   * fetch giving a body of GET metrics/{name}; log: may have a logarithmic scale.
   */
  constructor(title, store, lines, frame, { min, max, unit = "", log = false } = {}) {
    Object.assign(this, { store, lines, frame, min, max, log, title });
    this.plot = null;
    this.shape = "";
    this.closer = new Map(); // name -> Series of what is looked at closely
    this.asked = null; // the zoom that closer is of
    this.box = h("div", { class: "plot" });
    this.table = h("div", { class: "scroll", tabindex: "0", hidden: true });
    this.empty = h("p", { class: "empty" }, "no points yet");
    this.switch = h("button", { class: "small", "aria-pressed": "false", onclick: () => this.flip() }, "Table");
    this.node = h("section", { class: "card chart", dataset: { title } }, h("div", { class: "card-head" }, h("h2", {}, title,
      unit ? h("span", { class: "quiet" }, ` ${unit}`) : null), this.switch), this.box, this.table, this.empty);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
  }

  flip() {
    const table = this.table.hidden;
    this.switch.setAttribute("aria-pressed", String(table));
    this.table.hidden = !table;
    this.box.hidden = table;
    this.draw();
  }

  seriesOf(name) { return this.closer.get(name) || this.store.get(name); }

  /** Points between the ones the store keeps, when there are any; drawn when they come. */
  async lookCloser(lines) {
    const { zoom } = this.frame.settings;
    if (zoom === this.asked) return;
    this.asked = zoom;
    this.closer.clear();
    if (!zoom) return;
    const bodies = await Promise.all(lines.filter((l) => this.store.get(l.name).merged)
      .map((l) => this.frame.fetch(l.name, { ...zoom, points: POINTS_MAX }).catch(() => null)));
    if (zoom !== this.asked) return;
    for (const body of bodies.filter(Boolean)) {
      const s = new Series();
      s.load(body);
      this.closer.set(body.name, s);
    }
    this.draw();
  }

  forget() { this.asked = null; this.closer.clear(); }

  /** Columns of one line: [x, y] and what its style needs. */
  columns(line, axis, style) {
    const s = this.seriesOf(line.name);
    const above = (column) => (style.log ? column.map((v) => (v > 0 ? v : null)) : column);
    const out = [axis.column(s), above(style.smooth ? smooth(s.y, style.weight) : s.y)];
    if (style.smooth) out.push(above(s.y));
    if (style.band) out.push(above(s.hi), above(s.lo));
    return out;
  }

  style(lines) {
    const { weight, log } = this.frame.settings;
    return { smooth: weight > 0, weight, log: log && this.log, band: lines.some((l) => this.seriesOf(l.name).merged) };
  }

  draw() {
    const lines = this.lines().filter((l) => this.store.get(l.name).length > 0);
    this.empty.hidden = lines.length > 0;
    if (lines.length === 0) return;
    this.lookCloser(lines);
    const axis = this.frame.axis();
    if (!this.table.hidden) {
      this.fillTable(lines, axis);
      return;
    }
    const style = this.style(lines);
    const tables = lines.map((l) => this.columns(l, axis, style));
    const data = tables.length === 1 ? tables[0] : uPlot.join(tables);
    const shape = JSON.stringify([lines.map((l) => l.name), axis.label, style.smooth, style.log, style.band]);
    if (this.shape !== shape) {
      this.plot?.destroy();
      this.shape = shape;
      this.plot = new uPlot(this.options(lines, axis, style), data, this.box);
      this.plot.root.querySelector("canvas").setAttribute("role", "img");
    } else this.plot.setData(data);
    this.plot.root.querySelector("canvas").setAttribute("aria-label", this.words(lines));
  }

  /** What the picture says, for those who do not see it. */
  words(lines) {
    const said = lines.map(({ name, label }) => {
      const s = this.seriesOf(name);
      const known = s.y.filter((v) => v !== null);
      return `${label}: last ${format.number(known.at(-1))}, least ${format.number(least(s.lo))}, most ${format.number(most(s.hi))}`;
    });
    return `${this.title}. ${said.join("; ")}`;
  }

  options(lines, axis, style) {
    const common = { stroke: cssColor("--quiet"), grid: { stroke: cssColor("--grid"), width: 1 },
      ticks: { stroke: cssColor("--grid"), width: 1 }, font: "12px system-ui, sans-serif" };
    const { series, bands } = this.strokes(lines, style);
    return {
      width: Math.max(200, this.box.clientWidth),
      height: HEIGHT,
      scales: {
        x: { time: false, range: (u, lo, hi) => this.across(lo, hi) },
        y: style.log ? { distr: 3, range: (u, lo, hi) => uPlot.rangeLog(lo ?? 1, hi ?? 10, 10, false) }
          : { range: (u, lo, hi) => range(lo, hi, this.min, this.max) },
      },
      axes: [{ ...common, size: 34, values: (u, v) => v.map(axis.text) },
        { ...common, size: 60, values: (u, v) => v.map((x) => (x === null ? "" : format.number(x))) }],
      legend: { live: true },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: (u, i) => (u.series[i].class ? 0 : 6) }, sync: { key: SYNC.key, scales: ["x", null], filters: CURSOR_ONLY },
        bind: { dblclick: () => () => this.frame.settings.set({ zoom: null }) } },
      hooks: { setSelect: [(u) => this.select(u)] },
      series: [{ label: axis.label, value: (u, v) => (v === null ? "–" : axis.text(v)) }, ...series],
      bands,
    };
  }

  strokes(lines, style) {
    const series = [];
    const bands = [];
    lines.forEach((l, i) => {
      const stroke = cssColor(l.color);
      const dash = DASHES[Math.floor(i / PALETTE.length) % DASHES.length];
      series.push({ label: l.label, stroke, dash, width: l.points ? 2 : 1.25, spanGaps: true,
        points: { show: Boolean(l.points) && !style.smooth, size: 5, fill: stroke },
        value: (u, v) => (v === null || v === undefined ? "–" : format.number(v)) });
      const behind = { label: l.label, class: "behind", spanGaps: true, points: { show: false } };
      if (style.smooth) series.push({ ...behind, stroke: faint(stroke, 35), width: 1 });
      if (!style.band) return;
      const hi = series.push({ ...behind, stroke: "transparent", width: 0 });
      const lo = series.push({ ...behind, stroke: "transparent", width: 0 });
      bands.push({ series: [hi, lo], fill: faint(stroke, 22) });
    });
    return { series, bands };
  }

  across(lo, hi) {
    const { zoom } = this.frame.settings;
    if (!zoom) return hi > lo ? [lo, hi] : [lo ?? 0, (lo ?? 0) + 1];
    const axis = this.frame.axis();
    return [axis.xOf(zoom.from), axis.xOf(zoom.to)];
  }

  select(u) {
    if (u.select.width < 5) return;
    const axis = this.frame.axis();
    const at = (px) => Math.max(0, Math.round(axis.stepOf(u.posToVal(px, "x"))));
    const from = at(u.select.left);
    const to = at(u.select.left + u.select.width);
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    if (to > from) this.frame.settings.set({ zoom: { from, to } });
  }

  fillTable(lines, axis) {
    const { zoom } = this.frame.settings;
    const tables = lines.map((l) => { const s = this.seriesOf(l.name); return [s.step, s.y, s.lo, s.hi]; });
    const all = tables.length === 1 ? tables[0] : uPlot.join(tables);
    const inside = all[0].map((step, i) => i).filter((i) => !zoom || (all[0][i] >= zoom.from && all[0][i] <= zoom.to));
    const every = Math.ceil(inside.length / ROWS_MAX);
    const cell = (i, c) => {
      const [y, lo, hi] = [1, 2, 3].map((k) => all[3 * c + k][i]);
      if (y === null || y === undefined) return "";
      return lo === hi ? format.number(y) : `${format.number(y)} (${format.number(lo)} to ${format.number(hi)})`;
    };
    const sparse = lines.map((l, c) => (l.points ? 3 * c + 1 : 0)).filter(Boolean); // few values, none of which is left out
    const rows = inside.filter((i, n) => (inside.length - 1 - n) % every === 0 || sparse.some((c) => typeof all[c][i] === "number")).reverse();
    replace(this.table, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "step"), axis.label === "step" ? null : h("th", {}, axis.label),
      lines.map((l) => h("th", { class: "num" }, l.label)))), h("tbody", {}, rows.map((i) => h("tr", {}, h("td", {}, format.count(all[0][i])),
      axis.label === "step" ? null : h("td", {}, axis.text(axis.xOf(all[0][i]))), lines.map((_, c) => h("td", { class: "num" }, cell(i, c))))))));
  }

  resize() {
    const width = Math.max(200, this.box.clientWidth);
    if (this.plot && this.box.clientWidth && Math.abs(this.plot.width - width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  close() {
    this.observer.disconnect();
    this.plot?.destroy();
  }
}

const known = (column) => column.filter((v) => v !== null);
const least = (column) => known(column).reduce((a, b) => Math.min(a, b), Infinity);
const most = (column) => known(column).reduce((a, b) => Math.max(a, b), -Infinity);
const faint = (color, percent) => `color-mix(in srgb, ${color} ${percent}%, transparent)`;

function range(lo, hi, min, max) {
  if (lo === null || hi === null) return [min ?? 0, max ?? 1];
  const room = (hi - lo) * 0.06 || Math.abs(hi) * 0.1 || 0.1;
  return [Math.max(min ?? -Infinity, lo - room), Math.min(max ?? Infinity, hi + room)];
}
