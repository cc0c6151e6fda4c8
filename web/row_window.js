// row_window: of a table with thousands of rows only those in sight are in the document. All rows have one height; two
// spacers stand for the others. The page itself scrolls.
import { h } from "./dom.js";

const AROUND = 8; // rows kept above and below what is seen

export class RowWindow {
  /** count() of all rows; row(i): its <tr>, or null while it is not known; seen(from, to) after the window moved. */
  constructor(body, { count, row, seen }) {
    Object.assign(this, { body, count, row, seen });
    this.above = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
    this.below = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
    this.height = 0;
    this.onMove = () => this.update();
    addEventListener("scroll", this.onMove, { passive: true });
    addEventListener("resize", this.onMove);
  }

  rowHeight() {
    if (!this.height) this.height = parseFloat(getComputedStyle(this.body).getPropertyValue("--row-height"));
    return this.height || 56;
  }

  /** Draws what is in sight; cheap when nothing changed. */
  update() {
    const height = this.rowHeight();
    const top = this.body.getBoundingClientRect().top;
    const n = this.count();
    const from = Math.max(0, Math.min(n, Math.floor(-top / height) - AROUND));
    const to = Math.min(n, Math.max(from, Math.ceil((innerHeight - top) / height) + AROUND));
    const rows = [];
    for (let i = from; i < to; i++) {
      const tr = this.row(i);
      if (!tr) break;
      tr.setAttribute("aria-rowindex", String(i + 2)); // the head is the first
      rows.push(tr);
    }
    this.place([this.above, ...rows, this.below]);
    const columns = [...this.body.parentNode.rows[0].cells].filter((cell) => cell.offsetWidth > 0).length;
    for (const spacer of [this.above, this.below]) spacer.firstChild.colSpan = columns;
    this.above.style.height = `${from * height}px`;
    this.below.style.height = `${(n - from - rows.length) * height}px`;
    this.seen(from, to);
  }

  /** Only what is not in its place is touched, so that focus and hovering stay. */
  place(wanted) {
    const keep = new Set(wanted);
    for (const child of [...this.body.children]) if (!keep.has(child)) child.remove();
    wanted.forEach((node, i) => { if (this.body.children[i] !== node) this.body.insertBefore(node, this.body.children[i] || null); });
  }

  scrollTo(i) {
    const height = this.rowHeight();
    const top = this.body.getBoundingClientRect().top + i * height;
    if (top < height) scrollBy(0, top - height);
    else if (top + 2 * height > innerHeight) scrollBy(0, top + 2 * height - innerHeight);
    this.update();
  }

  close() {
    removeEventListener("scroll", this.onMove);
    removeEventListener("resize", this.onMove);
  }
}
