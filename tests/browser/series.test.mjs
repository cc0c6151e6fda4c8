// What charts are made of, without a browser: kept series, smoothing, axes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chartAxis, placeOf } from "../../web/chart_axis.js";
import { readRaster, windowOf } from "../../web/raster.js";
import { SeriesStore, smooth } from "../../web/series_store.js";

const points = (from, to, value) => Array.from({ length: to - from + 1 }, (_, i) => [from + i, 1000 * (from + i), value(from + i)]);

test("a long series keeps its peaks, its ends and its order", () => {
  const store = new SeriesStore();
  store.add("train/loss", points(1, 50000, (step) => (step === 31234 ? 99 : step === 40001 ? -7 : 1)));
  const s = store.get("train/loss");
  assert.ok(s.length <= 4000 && s.merged, `${s.length} rows`);
  assert.equal(Math.max(...s.hi), 99);
  assert.equal(Math.min(...s.lo), -7);
  assert.equal(s.step.at(-1), 50000);
  assert.ok(s.step.every((step, i) => i === 0 || step > s.step[i - 1]));
});

test("points that come twice count once, and a cut takes what comes again", () => {
  const store = new SeriesStore();
  store.add("a", points(1, 10, (step) => step));
  store.add("a", points(5, 12, () => 100));
  assert.deepEqual(store.get("a").y, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 100]);
  store.cut(4);
  store.add("a", points(5, 6, () => -1));
  assert.deepEqual(store.get("a").y, [1, 2, 3, 4, -1, -1]);
  assert.equal(store.get("a").hi.length, 6);
});

test("buckets are a band, and what is no number is a gap", () => {
  const store = new SeriesStore();
  store.load({ name: "a", points: null, buckets: [[1, 10, -2, 5, 1, 100], [11, 20, "NaN", "NaN", "NaN", 200]] });
  const s = store.get("a");
  assert.deepEqual([s.step, s.time, s.y, s.lo, s.hi], [[10, 20], [100, 200], [1, null], [-2, null], [5, null]]);
  assert.ok(s.merged);
});

test("smoothing is a mean of the past from the first value on, and leaves gaps", () => {
  assert.deepEqual(smooth([4, 4, 4], 0.9).map((v) => v.toFixed(12)), Array(3).fill((4).toFixed(12)));
  const [a, b, c] = smooth([1, null, 3], 0.5);
  assert.equal(a, 1);
  assert.equal(b, null);
  assert.ok(Math.abs(c - 7 / 3) < 1e-12);
});

test("axes agree in both directions", () => {
  const store = new SeriesStore();
  store.add("a", [[1, 5000, 1], [2, 7000, 1], [3, 6500, 1], [4, 9000, 1]]);
  const s = store.get("a");
  assert.deepEqual(chartAxis("time", store, 2).column(s), [0, 2, 2, 4]);
  assert.deepEqual(chartAxis("epoch", store, 2).column(s), [0.5, 1, 1.5, 2]);
  for (const name of ["step", "epoch", "time"]) {
    const axis = chartAxis(name, store, 2);
    for (const step of [1, 2, 4]) assert.equal(axis.stepOf(axis.xOf(step)), step, `${name} ${step}`);
  }
  assert.equal(chartAxis("time", new SeriesStore(), 2).label, "step");
  assert.equal(placeOf([1, 3, 5], 4), 2);
});

test("a raster counts each spike once, for its neuron and for its time-step", () => {
  const bits = Buffer.from([0b00000101, 0b00000010, 0b00000001, 0b00000000]); // 2 time-steps of 10 neurons, padded to bytes
  const r = readRaster({ dims: [2, 10], data: bits.toString("base64") });
  assert.equal(r.spikes, 4);
  assert.deepEqual([...r.ofStep], [3, 1]);
  assert.deepEqual([...r.ofNeuron], [2, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
  assert.equal(r.rate, 0.2);
  assert.deepEqual(windowOf(90, 200, 100), [0, 100]);
  assert.deepEqual(windowOf(95, 97, 100), [84, 100]);
  assert.deepEqual(windowOf(-5, 20, 100), [0, 25]);
});
