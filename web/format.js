// format: numbers, times and sizes for people.

const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat("en");

export const count = (n) => whole.format(n);
export const percent = (x) => (typeof x === "number" ? `${(100 * x).toFixed(2)} %` : "–");

export function number(x) {
  if (x === null || x === undefined) return "–";
  if (typeof x === "string") return x; // "NaN", "Infinity"
  if (x !== 0 && Math.abs(x) < 1e-3) return x.toExponential(2);
  return small.format(x);
}

export function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let i = -1;
  do { n /= 1024; i++; } while (n >= 1024 && i < units.length - 1);
  return `${n.toFixed(n < 10 ? 1 : 0)} ${units[i]}`;
}

export function ago(iso) {
  if (!iso) return "–";
  const s = (Date.now() - Date.parse(iso)) / 1000;
  if (s < 5) return "now";
  return s < 86400 ? `${duration(s)} ago` : new Date(iso).toLocaleDateString();
}

export const clock = (iso) => (iso ? new Date(iso).toLocaleString() : "–");
