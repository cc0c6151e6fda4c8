// sparkline: the shape of a series in the height of a line of text. Asked for when it comes in sight, few at a time.
import { read, seriesPath } from "./api.js";
import { h, replace } from "./dom.js";

const POINTS = 60;
const AT_ONCE = 3;
const FRESH_MS = 15000; // so long a line that grows is good enough
const W = 90;
const H = 22;

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function draw(values, label) {
  const lo = Math.min(...values);
  const hi = Math.max(...values);
  const at = (v, i) => `${(i / Math.max(1, values.length - 1) * W).toFixed(1)},${(H - 2 - (v - lo) / (hi - lo || 1) * (H - 4)).toFixed(1)}`;
  const root = svg("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "img", "aria-label": label });
  root.append(svg("polyline", { points: values.map(at).join(" ") }));
  return root;
}

export class Sparklines {
  constructor(series) {
    this.series = series;
    this.lines = new Map(); // id -> {node, step, time}
    this.waiting = [];
    this.busy = 0;
  }

  /** A place that fills itself; x: the experiment as listed. */
  of(x) {
    let line = this.lines.get(x.id);
    if (!line) this.lines.set(x.id, line = { node: h("span", { class: "spark" }), step: -1, time: 0 });
    const grown = x.progress.step !== line.step && Date.now() - line.time > FRESH_MS;
    if (grown && x.metrics[this.series] !== undefined && !line.asked) {
      line.asked = true;
      this.waiting.push(x);
      this.next();
    }
    return line.node;
  }

  async next() {
    if (this.busy >= AT_ONCE || this.waiting.length === 0) return;
    this.busy++;
    const x = this.waiting.pop(); // the newest wish: what is in sight now
    const line = this.lines.get(x.id);
    try {
      const { data } = await read(`/experiments/${x.id}/metrics/${seriesPath(this.series)}?max_points=${POINTS}`);
      const values = (data.points ?? data.buckets).map((row) => row[data.points ? 2 : 4]).filter(Number.isFinite);
      if (values.length > 1) replace(line.node, draw(values, `${this.series} from ${values[0].toPrecision(3)} to ${values.at(-1).toPrecision(3)}`));
      Object.assign(line, { step: x.progress.step, time: Date.now() });
    } catch { /* a picture less */ }
    line.asked = false;
    this.busy--;
    this.next();
  }
}
