// raster: the spikes of one sample, a row a time-step and a column a neuron, with the rate of every neuron above and of every
// time-step beside it. Where neurons are narrower than a pixel those of a pixel are one: it is inked if any of them fired.
import { cssColor, h, setText } from "./dom.js";
import { bytesOf, canvasOf } from "./spikes.js";
import * as format from "./format.js";

const LEFT = 40;
const RIGHT = 64;
const TOP = 38; // rates of neurons
const BOTTOM = 18;
const CLOSEST = 16; // neurons; nobody needs to look closer

/** A record's bits as spikes(t, n). */
export function readRaster(record) {
  const [steps, neurons] = record.dims;
  const bits = bytesOf(record.data);
  const rowBytes = Math.ceil(neurons / 8);
  const at = (t, n) => bits[t * rowBytes + (n >> 3)] >> (n & 7) & 1;
  const ofStep = new Uint32Array(steps);
  const ofNeuron = new Uint16Array(neurons);
  for (let t = 0; t < steps; t++) {
    for (let n = 0; n < neurons; n++) {
      if (!at(t, n)) continue;
      ofStep[t]++;
      ofNeuron[n]++;
    }
  }
  const spikes = ofStep.reduce((a, b) => a + b, 0);
  return { steps, neurons, at, ofStep, ofNeuron, spikes, rate: spikes / (steps * neurons) };
}

/** Bounds of neurons [from, to) kept inside [0, neurons) and at least CLOSEST wide. */
export function windowOf(from, to, neurons) {
  const width = Math.min(neurons, Math.max(CLOSEST, Math.round(to - from)));
  const begin = Math.min(Math.max(0, Math.round(from)), neurons - width);
  return [begin, begin + width];
}

export class RasterView {
  constructor() {
    this.window = null; // [from, to) neurons; null = all
    this.drag = null;
    this.box = h("div", { class: "raster" });
    this.readout = h("div", { class: "quiet readout" });
    this.reset = h("button", { class: "small", hidden: true, onclick: () => this.look(null) }, "all neurons");
    this.node = h("div", {}, this.box, h("div", { class: "card-head" }, this.readout, this.reset));
  }

  show(record, width) {
    this.spikes = readRaster(record);
    this.width = width;
    if (this.window && this.window[1] > this.spikes.neurons) this.window = null;
    this.draw();
    return this.spikes.rate;
  }

  look(range) {
    this.window = range && windowOf(range[0], range[1], this.spikes.neurons);
    if (this.window && this.window[1] - this.window[0] === this.spikes.neurons) this.window = null;
    this.draw();
  }

  /** Geometry of what is drawn. */
  frame() {
    const [from, to] = this.window ?? [0, this.spikes.neurons];
    const room = this.width - LEFT - RIGHT;
    const pitch = Math.min(26, room / (to - from));
    const row = Math.max(6, Math.min(26, Math.floor(260 / this.spikes.steps)));
    return { from, to, pitch, row, height: TOP + row * this.spikes.steps + BOTTOM };
  }

  draw() {
    const f = this.frame();
    const { canvas, g } = canvasOf(this.width, f.height, this.words());
    canvas.tabIndex = 0;
    this.drawSpikes(g, f);
    this.drawRates(g, f);
    this.drawAxis(g, f);
    canvas.addEventListener("pointermove", (e) => this.point(e));
    canvas.addEventListener("pointerleave", () => this.tell(null));
    canvas.addEventListener("pointerdown", (e) => { this.drag = this.neuronAt(e); canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointerup", (e) => this.release(e));
    canvas.addEventListener("dblclick", () => this.look(null));
    canvas.addEventListener("keydown", (e) => this.key(e));
    const focused = this.canvas && this.canvas === document.activeElement;
    this.box.replaceChildren(canvas);
    this.canvas = canvas;
    if (focused) canvas.focus();
    this.reset.hidden = !this.window;
    this.tell(null);
  }

  drawSpikes(g, f) {
    const { steps, at } = this.spikes;
    const narrow = f.pitch < 1;
    for (let t = 0; t < steps; t++) {
      const y = TOP + t * f.row;
      g.fillStyle = cssColor("--grid");
      g.fillRect(LEFT, y + f.row - 1, f.pitch * (f.to - f.from), 1);
      g.fillStyle = cssColor("--ink");
      let pixel = -1;
      for (let n = f.from; n < f.to; n++) {
        if (!at(t, n)) continue;
        const x = (n - f.from) * f.pitch;
        if (!narrow) g.fillRect(LEFT + x, y + 2, Math.max(1, f.pitch - (f.pitch > 3 ? 1 : 0)), f.row - 4);
        else if (Math.floor(x) !== pixel) g.fillRect(LEFT + (pixel = Math.floor(x)), y + 2, 1, f.row - 4);
      }
    }
  }

  drawRates(g, f) {
    const { steps, neurons, ofStep, ofNeuron } = this.spikes;
    const deep = TOP - 8;
    g.fillStyle = cssColor("--line-1");
    const columns = Math.ceil(f.pitch * (f.to - f.from));
    for (let c = 0; c < columns; c = Math.max(c + 1, Math.ceil(c + f.pitch))) {
      const a = f.from + Math.floor(c / f.pitch);
      const b = Math.max(a + 1, Math.min(f.to, f.from + Math.floor((c + 1) / f.pitch)));
      let most = 0; // of the neurons of this pixel: a busy one must not vanish among quiet ones
      for (let n = a; n < Math.min(b, f.to); n++) most = Math.max(most, ofNeuron[n]);
      const tall = most / steps * deep;
      g.fillRect(LEFT + (a - f.from) * f.pitch, TOP - 4 - tall, Math.max(1, f.pitch - (f.pitch > 3 ? 1 : 0)), tall);
    }
    g.textAlign = "left";
    for (let t = 0; t < steps; t++) {
      const share = ofStep[t] / neurons;
      g.fillStyle = cssColor("--line-2");
      g.fillRect(this.width - RIGHT + 6, TOP + t * f.row + 2, share * (RIGHT - 10), f.row - 4);
      if (f.row < 14) continue;
      g.fillStyle = cssColor("--quiet");
      g.fillText(`${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`, this.width - RIGHT + 10 + share * (RIGHT - 10) * (share < 0.4 ? 1 : 0), TOP + t * f.row + f.row / 2 + 4);
    }
  }

  drawAxis(g, f) {
    const { steps } = this.spikes;
    g.fillStyle = cssColor("--quiet");
    g.textAlign = "right";
    for (let t = 0; t < steps; t++) if (steps <= 32 || t % 8 === 0) g.fillText(`t=${t}`, LEFT - 6, TOP + t * f.row + f.row / 2 + 4);
    g.fillText("rate", LEFT - 6, TOP - 8);
    g.fillText(`${f.to - 1}`, LEFT + f.pitch * (f.to - f.from), f.height - 4);
    g.textAlign = "left";
    g.fillText(`neuron ${f.from}`, LEFT, f.height - 4);
  }

  neuronAt(e) {
    const f = this.frame();
    const n = f.from + (e.offsetX - LEFT) / f.pitch;
    return Math.min(f.to, Math.max(f.from, n));
  }

  point(e) {
    const f = this.frame();
    const n = Math.floor(this.neuronAt(e));
    const t = Math.floor((e.offsetY - TOP) / f.row);
    this.tell(n < f.to ? n : null, t >= 0 && t < this.spikes.steps ? t : null);
  }

  release(e) {
    const from = this.drag;
    this.drag = null;
    if (from === null) return;
    const to = this.neuronAt(e);
    const f = this.frame();
    if (Math.abs(to - from) * f.pitch > 6) this.look([Math.min(from, to), Math.max(from, to)]);
  }

  /** Arrows move what is seen, + and - narrow and widen it. */
  key(e) {
    const [from, to] = this.window ?? [0, this.spikes.neurons];
    const width = to - from;
    const views = { ArrowLeft: [from - width / 4, to - width / 4], ArrowRight: [from + width / 4, to + width / 4],
      "+": [from + width / 4, to - width / 4], "-": [from - width / 2, to + width / 2], Escape: [0, this.spikes.neurons] };
    if (!views[e.key]) return;
    e.preventDefault();
    e.stopPropagation();
    this.look(views[e.key]);
  }

  tell(n, t = null) {
    const { steps, ofNeuron, at } = this.spikes;
    if (n === null || n === undefined) {
      setText(this.readout, this.window ? "drag, arrows, + and − look closer" : "drag across to look closer");
      return;
    }
    const here = t === null ? "" : at(t, n) ? `, fires at t=${t}` : `, silent at t=${t}`;
    setText(this.readout, `neuron ${format.count(n)}: ${ofNeuron[n]} of ${steps} time-steps${here}`);
  }

  words() {
    const { steps, neurons, rate, ofNeuron } = this.spikes;
    const silent = ofNeuron.filter((k) => k === 0).length;
    return `Spike raster of ${format.count(neurons)} neurons over ${steps} time-steps: ${format.percent(rate)} fire, ${format.count(silent)} neurons are silent`;
  }
}
