// list_columns: what a row of the list tells, and which of it is wanted.
import { h } from "./dom.js";
import { actionButtons, progressBar, progressText, stateBadge } from "./badges.js";
import * as format from "./format.js";

const accuracy = (x) => x.metrics["val/accuracy"] ?? x.metrics["train/accuracy"];

/** sparks: Sparklines; box(x): what selects a row. */
export function makeColumns(sparks, box) {
  return [
    { name: "pick", label: "", fixed: true, kind: "pick", cell: box },
    { name: "id", label: "Id", fixed: true, kind: "id", cell: (x) => h("a", { href: `#/experiments/${x.id}`, tabindex: "-1", "aria-hidden": "true" }, `#${x.id}`) },
    { name: "name", label: "Name", fixed: true, kind: "name", cell: (x) => [h("div", { class: "cut" }, h("a", { href: `#/experiments/${x.id}` }, x.name || "(no name)"),
      x.tags.map((t) => h("span", { class: "tag" }, t))), h("div", { class: "quiet cut", title: progressText(x) }, progressText(x))] },
    { name: "state", label: "State", fixed: true, kind: "state", cell: stateBadge },
    { name: "progress", label: "Progress", kind: "bar", cell: progressBar },
    { name: "accuracy", label: "Accuracy", title: "validation accuracy, or of the last batch", kind: "num", cell: (x) => format.percent(accuracy(x)) },
    { name: "loss", label: "Loss", title: "training loss", kind: "num loss", cell: (x) => format.number(x.metrics["train/loss"]) },
    { name: "curve", label: "Loss curve", title: "training loss over the steps", kind: "wide curve", cell: (x) => sparks.of(x) },
    { name: "dataset", label: "Dataset", kind: "wide", cell: (x) => x.dataset },
    { name: "user", label: "User", kind: "wide", cell: (x) => x.user },
    { name: "created", label: "Created", kind: "wide quiet", title: "when it was submitted", cell: (x) => h("span", { title: format.clock(x.created_at) }, format.ago(x.created_at)) },
    { name: "acts", label: "", fixed: true, kind: "acts", cell: (x) => actionButtons(x) },
  ];
}

/** A menu of the columns that may go; hidden: a Set of names; onChange() after each choice. */
export function columnChooser(columns, hidden, onChange) {
  const box = (c) => {
    const input = h("input", { type: "checkbox", checked: !hidden.has(c.name), onchange: () => {
      if (input.checked) hidden.delete(c.name);
      else hidden.add(c.name);
      onChange();
    } });
    return h("label", {}, input, ` ${c.label}`);
  };
  return h("details", { class: "menu" }, h("summary", { class: "button" }, "Columns"),
    h("div", { class: "menu-body" }, columns.filter((c) => !c.fixed).map(box)));
}
