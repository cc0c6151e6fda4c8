// chart_axis: what stands along the bottom of a chart: steps, epochs, or the time since the first point.
import * as format from "./format.js";

/** The first place in a rising column whose value is at least v; its length if none is. */
export function placeOf(column, v) {
  let lo = 0;
  let hi = column.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (column[mid] < v) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** Clocks are set back now and then; an axis is not. */
function rising(column, map) {
  let most = -Infinity;
  return column.map((v) => (most = Math.max(most, map(v))));
}

const stepAxis = { label: "step", text: format.count, column: (s) => s.step, xOf: (step) => step, stepOf: (x) => x };

function epochAxis(stepsPerEpoch) {
  return {
    label: "epoch", text: format.number, column: (s) => s.step.map((step) => step / stepsPerEpoch),
    xOf: (step) => step / stepsPerEpoch, stepOf: (x) => x * stepsPerEpoch,
  };
}

function timeAxis(store) {
  const all = [...store.series.values()].filter((s) => s.length > 0);
  const begin = Math.min(...all.map((s) => s.time[0]));
  const dense = all.reduce((a, b) => (b.length > a.length ? b : a), all[0]); // says which step was when
  const column = (s) => rising(s.time, (t) => (t - begin) / 1000);
  const times = column(dense);
  const at = (from, to, v) => to[Math.min(placeOf(from, v), to.length - 1)];
  return { label: "time", text: format.duration, column, xOf: (step) => at(dense.step, times, step), stepOf: (x) => at(times, dense.step, x) };
}

/** {label, text(x), column(series), xOf(step), stepOf(x)} */
export function chartAxis(name, store, stepsPerEpoch) {
  if (name === "epoch" && stepsPerEpoch > 0) return epochAxis(stepsPerEpoch);
  if (name === "time" && [...store.series.values()].some((s) => s.length > 0)) return timeAxis(store);
  return stepAxis;
}
