// bulk: what is done to many experiments of the list at once.
import { batch } from "./api.js";
import { h, notify, setText } from "./dom.js";

const ACTIONS = [["pause", "Pause"], ["resume", "Resume"], ["retry", "Retry"], ["cancel", "Cancel"], ["delete", "Delete"]];
const AT_ONCE = 1000; // experiments of one request
const TOLD = 3; // refusals that are told in full

/** "Cancel: 3 of 4 done. #3: it has ended" */
export function verdict(op, items) {
  const refused = items.filter((item) => item.error);
  const words = refused.slice(0, TOLD).map((item) => `#${item.id}: ${item.error.detail}`);
  if (refused.length > TOLD) words.push(`${refused.length - TOLD} more refused`);
  return `${op}: ${items.length - refused.length} of ${items.length} done${words.length ? `. ${words.join("; ")}` : ""}`;
}

export class Selection {
  /** onChange(): other rows are selected now. */
  constructor(onChange) {
    this.ids = new Set();
    this.last = null; // picked by hand, where a range begins
    this.onChange = onChange;
    this.count = h("span", { class: "quiet" });
    this.buttons = ACTIONS.map(([op, label]) => h("button", { class: op === "cancel" || op === "delete" ? "danger" : null, onclick: () => this.perform(op, label) }, label));
    this.node = h("div", { class: "bar-top bulk", role: "group", "aria-label": "Selected experiments", hidden: true },
      this.count, this.buttons, h("button", { class: "plain", onclick: () => this.clear() }, "Clear"));
  }

  /** The box of a row. order(): all ids as they are listed, for a range with Shift. */
  box(id, order) {
    return h("input", { type: "checkbox", "aria-label": `Select #${id}`, checked: this.ids.has(id),
      onclick: (e) => this.pick(id, e.target.checked, e.shiftKey ? order() : null) });
  }

  pick(id, on, order) {
    const from = order ? order.indexOf(this.last) : -1;
    const to = order ? order.indexOf(id) : -1;
    const range = from >= 0 && to >= 0 ? order.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const each of range) {
      if (on) this.ids.add(each);
      else this.ids.delete(each);
    }
    this.last = id;
    this.changed();
  }

  all(ids, on) {
    this.ids = new Set(on ? ids.slice(0, AT_ONCE) : []);
    this.changed();
  }

  clear() { this.all([], false); }

  /** What is gone cannot be meant any more. */
  drop(id) { if (this.ids.delete(id)) this.changed(); }

  changed() {
    const n = this.ids.size;
    this.node.hidden = n === 0;
    setText(this.count, `${n} selected${n === AT_ONCE ? ", as many as one request takes" : ""}`);
    this.onChange();
  }

  async perform(op, label) {
    const ids = [...this.ids];
    const many = `${ids.length} experiment${ids.length === 1 ? "" : "s"}`;
    if ((op === "cancel" || op === "delete") && !confirm(`${label} ${many}?`)) return;
    for (const b of this.buttons) b.disabled = true;
    try {
      const result = await batch(op, ids);
      notify(verdict(label, result.items), result.refused ? "error" : "good");
      this.clear();
    } catch (problem) { notify(problem.message); }
    for (const b of this.buttons) b.disabled = false;
  }
}
