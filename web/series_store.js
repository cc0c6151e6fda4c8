// series_store: one experiment's series as they arrive: in order of steps, without repeats, bounded. A row is a point or
// a bucket of points, of which the least and the largest value stay: however long a series, no peak is lost.

const MAX_ROWS = 4000; // of a series; then neighbours are put together, two and two

const number = (v) => (typeof v === "number" ? v : null); // "NaN" and infinities have no place on a line
const pick = (choose, a, b) => (a === null ? b : b === null ? a : choose(a, b));

/** Columns of one series: step (the last of the bucket), time (ms since 1970), y (last value), lo and hi. */
export class Series {
  constructor() { this.clear(); }

  get length() { return this.step.length; }

  clear() {
    this.merged = false; // some row stands for more than one point
    this.step = [];
    this.time = [];
    this.y = [];
    this.lo = [];
    this.hi = [];
  }

  push(step, time, y, lo, hi) {
    this.step.push(step);
    this.time.push(time);
    this.y.push(y);
    this.lo.push(lo);
    this.hi.push(hi);
  }

  /** points: [[step, time_ms, value], ...]; steps already known are left out. */
  addPoints(points) {
    for (const [step, time, value] of points) {
      if (this.length && step <= this.step[this.length - 1]) continue;
      const y = number(value);
      this.push(step, time, y, y, y);
      if (this.length > MAX_ROWS) this.halve();
    }
  }

  /** A body of GET metrics/{name}: points, or buckets of a long series. */
  load(body) {
    this.clear();
    this.merged = !body.points;
    if (body.points) this.addPoints(body.points);
    else for (const [, last, lo, hi, y, time] of body.buckets) this.push(last, time, number(y), number(lo), number(hi));
  }

  halve() {
    const all = { ...this };
    this.clear();
    this.merged = true;
    for (let i = 0; i < all.step.length; i += 2) {
      const j = Math.min(i + 1, all.step.length - 1);
      this.push(all.step[j], all.time[j], all.y[j], pick(Math.min, all.lo[i], all.lo[j]), pick(Math.max, all.hi[i], all.hi[j]));
    }
  }

  /** Rows after this step go. */
  cut(step) {
    let n = this.length;
    while (n > 0 && this.step[n - 1] > step) n--;
    for (const column of [this.step, this.time, this.y, this.lo, this.hi]) column.length = n;
  }
}

export class SeriesStore {
  constructor() {
    this.series = new Map(); // name -> Series
    this.nameOf = (path) => path; // of a layer, for people
  }

  names() { return [...this.series.keys()].sort(); }
  get(name) { return this.series.get(name) || new Series(); }
  last(name) { return this.get(name).y.at(-1); }
  clear() { this.series.clear(); }

  of(name) {
    let s = this.series.get(name);
    if (!s) this.series.set(name, s = new Series());
    return s;
  }

  add(name, points) { this.of(name).addPoints(points); }
  load(body) { this.of(body.name).load(body); }

  /** What a worker that resumed at this step will send again. */
  cut(step) { for (const s of this.series.values()) s.cut(step); }
}

/** Exponential moving average without the pull of its first value (weight of the past: 0 to below 1); gaps stay gaps. */
export function smooth(values, weight) {
  let sum = 0;
  let norm = 0;
  return values.map((v) => {
    if (v === null) return null;
    sum = weight * sum + (1 - weight) * v;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}
