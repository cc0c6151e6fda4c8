// badges: small pieces that several pages show: state, progress, actions.
import { h, notify } from "./dom.js";
import { act, remove } from "./api.js";
import * as format from "./format.js";

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const STOPPABLE = new Set(["queued", "backoff", "starting", "running", "held", "paused", "blocked"]);

export function stateBadge(x) {
  const asked = x.state === "running" && x.desired !== "run" ? ` → ${x.desired}` : "";
  return h("span", { class: `badge ${x.state}` }, x.state + asked);
}

export function progressBar(x) {
  const { step, steps_total: total } = x.progress;
  const share = total > 0 ? Math.min(1, step / total) : x.state === "succeeded" ? 1 : 0;
  const bar = h("progress", { max: 1, value: share, "aria-label": "progress" });
  return h("span", { class: "progress" }, bar,
    h("span", { class: "quiet" }, total > 0 ? `${Math.floor(100 * share)} %` : ""));
}

/** One line of words about where an experiment stands. */
export function progressText(x) {
  const p = x.progress;
  if (x.state === "queued") return x.queue_position ? `place ${x.queue_position} in the queue` : "waits";
  if (p.steps_total <= 0) return x.message || "";
  const parts = [`step ${format.count(p.step)} of ${format.count(p.steps_total)}`, `epoch ${p.epoch} of ${p.epochs}`];
  if (x.state === "running" && p.samples_per_s > 0) parts.push(`${format.count(Math.round(p.samples_per_s))} samples/s`);
  if (x.state === "running" && p.eta_s !== null) parts.push(`about ${format.duration(p.eta_s)} left`);
  return parts.join(" · ");
}

async function perform(button, work) {
  button.disabled = true;
  try { await work(); } catch (problem) { notify(problem.message); }
  button.disabled = false;
}

function button(label, kind, work) {
  const b = h("button", { class: kind, onclick: () => perform(b, work) }, label);
  return b;
}

/** Buttons for what is possible now. */
export function actionButtons(x, { full = false, onDeleted = () => {} } = {}) {
  const out = [];
  const stopping = x.desired === "cancel" || x.state === "stopping";
  if (full && x.state === "running" && x.desired === "run") out.push(button("Pause", "", () => act(x.id, "pause")));
  if (full && (x.state === "paused" || x.state === "held")) out.push(button("Resume", "", () => act(x.id, "resume")));
  if (full && (x.state === "failed" || x.state === "cancelled")) out.push(button("Retry", "", () => act(x.id, "retry")));
  if (STOPPABLE.has(x.state) && !stopping) out.push(button("Cancel", "danger", () => act(x.id, "cancel")));
  if (full && FINAL.has(x.state)) {
    out.push(button("Delete", "danger", async () => {
      if (!confirm(`Delete experiment ${x.id}? It can be taken back for some days.`)) return;
      await remove(x.id);
      onDeleted();
    }));
  }
  return out;
}
