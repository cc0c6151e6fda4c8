// spikes: pictures of records on canvas: matrices, membrane traces. Sizes in CSS pixels.
import { h, cssColor } from "./dom.js";
import * as format from "./format.js";

export function canvasOf(width, height, label) {
  const ratio = window.devicePixelRatio || 1;
  const canvas = h("canvas", { role: "img", "aria-label": label });
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.font = "12px system-ui, sans-serif";
  return { canvas, g };
}

export function bytesOf(base64) {
  const text = atob(base64);
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

export function floatsOf(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

/** -1 ... 1 to a colour between the two ends of the scale; 0 is the background. */
function diverging(v) {
  const share = Math.round(Math.min(1, Math.abs(v)) * 100);
  return `color-mix(in srgb, ${cssColor(v < 0 ? "--cold" : "--warm")} ${share}%, ${cssColor("--card")})`;
}

/** A [T][T] matrix: PSN weights, row = time-step that fires, column = time-step of the input. */
export function matrix(record, width) {
  const [rows, columns] = record.dims;
  const values = floatsOf(record.data);
  const left = 34;
  const top = 18;
  const cell = Math.max(4, Math.min(44, Math.floor((Math.min(width, 360) - left) / columns)));
  const { canvas, g } = canvasOf(left + cell * columns + 2, top + cell * rows + 2, "weights over time-steps");
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-12);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const v = values[i * columns + j];
      g.fillStyle = diverging(v / largest);
      g.fillRect(left + j * cell, top + i * cell, cell - 1, cell - 1);
      if (cell >= 30) {
        g.fillStyle = cssColor("--ink");
        g.textAlign = "center";
        g.fillText(v.toFixed(2), left + j * cell + cell / 2, top + i * cell + cell / 2 + 4);
      }
    }
  }
  g.fillStyle = cssColor("--quiet");
  g.textAlign = "right";
  for (let i = 0; i < rows && rows <= 16; i++) g.fillText(`t=${i}`, left - 4, top + i * cell + cell / 2 + 4);
  g.textAlign = "center";
  for (let j = 0; j < columns && columns <= 16; j++) g.fillText(`${j}`, left + j * cell + cell / 2, top - 5);
  return canvas;
}

/** Membrane potentials [T][neurons]: one trace a neuron. */
export function traces(record, width) {
  const [steps, neurons] = record.dims;
  const values = floatsOf(record.data);
  const height = 160;
  const left = 58;
  const { canvas, g } = canvasOf(width, height + 18, "membrane potentials");
  const finite = values.filter(Number.isFinite);
  const lo = finite.reduce((m, v) => Math.min(m, v), 0);
  const hi = finite.reduce((m, v) => Math.max(m, v), 1);
  const x = (t) => left + (steps > 1 ? t / (steps - 1) : 0.5) * (width - left - 8);
  const y = (v) => 6 + (hi - v) / (hi - lo || 1) * (height - 12);
  g.fillStyle = cssColor("--quiet");
  g.textAlign = "right";
  for (const v of [lo, (lo + hi) / 2, hi]) {
    g.fillText(format.number(v), left - 6, y(v) + 4);
    g.fillRect(left, y(v), width - left - 8, 0.5);
  }
  for (let n = 0; n < neurons; n++) {
    g.strokeStyle = cssColor(`--line-${n % 8 + 1}`);
    g.lineWidth = 1.5;
    g.beginPath();
    for (let t = 0; t < steps; t++) g.lineTo(x(t), y(values[t * neurons + n]));
    g.stroke();
  }
  g.fillStyle = cssColor("--quiet");
  g.textAlign = "left";
  g.fillText("t=0", left, height + 14);
  g.textAlign = "right";
  g.fillText(`t=${steps - 1}`, width - 8, height + 14);
  return canvas;
}
