// series_store: points of one experiment's series as they arrive: in order of steps, without repeats,
// bounded.

const MAX_POINTS = 4000; // of a series; then every second point goes

export class SeriesStore {
  constructor() {
    this.series = new Map(); // name -> {x: [], y: []}
    this.nameOf = (path) => path; // of a layer, for people
  }

  names() { return [...this.series.keys()].sort(); }
  get(name) { return this.series.get(name) || { x: [], y: [] }; }
  last(name) { const s = this.get(name); return s.y.length ? s.y[s.y.length - 1] : undefined; }
  clear() { this.series.clear(); }

  /** rows: [[step, time_ms, value], ...]; steps already known are left out. */
  add(name, rows) {
    let s = this.series.get(name);
    if (!s) this.series.set(name, s = { x: [], y: [] });
    for (const [step, , value] of rows) {
      if (s.x.length && step <= s.x[s.x.length - 1]) continue;
      s.x.push(step);
      s.y.push(typeof value === "number" ? value : null);
    }
    if (s.x.length > MAX_POINTS) {
      const keep = (_, i) => i % 2 === 1 || i === s.x.length - 1;
      const x = s.x.filter(keep);
      s.y = s.y.filter(keep);
      s.x = x;
    }
  }

  /** A body of GET metrics/{name}: points, or buckets of a long series. */
  load(body) {
    if (body.points) this.add(body.name, body.points);
    else this.add(body.name, body.buckets.map((b) => [b[1], b[5], b[4]]));
  }

  /** What a worker that resumed at this step will send again. */
  cut(step) {
    for (const s of this.series.values()) {
      let n = s.x.length;
      while (n > 0 && s.x[n - 1] > step) n--;
      s.x.length = s.y.length = n;
    }
  }
}
