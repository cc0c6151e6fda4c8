// list_page: all experiments, newest first, live.
import { h, replace } from "./dom.js";
import { read } from "./api.js";
import { openEvents } from "./events.js";
import { actionButtons, progressBar, progressText, stateBadge } from "./badges.js";
import * as format from "./format.js";

const PAGE = 50;
const FILTERS = [["", "All"], ["queued,starting,running,stopping,backoff", "Active"], ["succeeded", "Succeeded"],
  ["failed", "Failed"], ["cancelled,paused,held", "Stopped"]];

export async function listPage(ctx) {
  const items = new Map(); // id -> experiment
  const rows = new Map(); // id -> <tr>
  let filter = FILTERS[0][0];
  let text = "";
  let cursor = null;
  let close = () => {};

  const body = h("tbody");
  const empty = h("p", { class: "empty", hidden: true });
  const more = h("button", { hidden: true, onclick: () => load(true) }, "Show more");
  const total = h("span", { class: "quiet" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }, FILTERS.map(([states, label]) =>
    h("button", { class: "chip", "aria-pressed": String(states === filter), dataset: { states },
      onclick: (e) => choose(states, e.target) }, label)));
  const search = h("input", { type: "search", placeholder: "Search name, dataset, user", "aria-label": "Search",
    oninput: debounce(() => { text = search.value.trim(); load(false); }) });

  function choose(states, chip) {
    filter = states;
    for (const c of chips.children) c.setAttribute("aria-pressed", String(c === chip));
    load(false);
  }

  function fits(x) {
    const words = `${x.name} ${x.dataset} ${x.user}`.toLowerCase();
    return (filter === "" || filter.split(",").includes(x.state)) && words.includes(text.toLowerCase());
  }

  function cells(x) {
    const m = x.metrics;
    const accuracy = m["val/accuracy"] ?? m["train/accuracy"];
    return [
      h("td", { class: "id" }, h("a", { href: `#/experiments/${x.id}` }, `#${x.id}`)),
      h("td", { class: "name" }, h("a", { href: `#/experiments/${x.id}` }, x.name || "(no name)"),
        x.tags.map((t) => h("span", { class: "tag" }, t)), h("div", { class: "quiet" }, progressText(x))),
      h("td", {}, stateBadge(x)),
      h("td", { class: "bar" }, progressBar(x)),
      h("td", { class: "num", title: "validation accuracy, or of the last batch" }, format.percent(accuracy)),
      h("td", { class: "num", title: "training loss" }, format.number(m["train/loss"])),
      h("td", { class: "wide" }, x.dataset),
      h("td", { class: "wide" }, x.user),
      h("td", { class: "wide quiet", title: format.clock(x.created_at) }, format.ago(x.created_at)),
      h("td", { class: "acts" }, actionButtons(x)),
    ];
  }

  function show(x) {
    let row = rows.get(x.id);
    if (!fits(x)) {
      if (row) row.remove();
      rows.delete(x.id);
    } else if (row) {
      replace(row, cells(x));
    } else {
      row = h("tr", { dataset: { id: x.id } }, cells(x));
      rows.set(x.id, row);
      const below = [...body.children].find((r) => Number(r.dataset.id) < x.id);
      body.insertBefore(row, below || null);
    }
    showEmpty();
  }

  function showEmpty() {
    empty.hidden = rows.size > 0;
    replace(empty, items.size === 0 && !filter && !text
      ? ["No experiment yet. ", h("a", { href: "#/new" }, "Submit the first one"), "."] : "Nothing fits this filter.");
  }

  function drop(id) {
    rows.get(id)?.remove();
    rows.delete(id);
    items.delete(id);
    showEmpty();
  }

  function onEvent(name, data) {
    if (name === "experiment.state") {
      items.set(data.id, data);
      show(data);
      ctx.slots();
    } else if (name === "experiment.progress" && items.has(data.id)) {
      const x = { ...items.get(data.id), progress: data.progress, metrics: data.metrics };
      items.set(data.id, x);
      show(x);
    } else if (name === "experiment.deleted") {
      drop(data.id);
    }
  }

  async function load(next) {
    const query = new URLSearchParams({ limit: PAGE });
    if (filter) query.set("state", filter);
    if (text) query.set("q", text);
    if (next && cursor) query.set("cursor", cursor);
    const { data, eventId } = await read(`/experiments?${query}`);
    if (!ctx.alive()) return;
    if (!next) {
      items.clear();
      rows.clear();
      replace(body);
    }
    for (const x of data.items) items.set(x.id, x);
    for (const x of data.items) show(x);
    cursor = data.next_cursor;
    more.hidden = cursor === null;
    replace(total, `${format.count(data.total)} experiment${data.total === 1 ? "" : "s"}`);
    showEmpty();
    if (next) return;
    close();
    close = openEvents("experiments", eventId, { event: onEvent, reset: () => load(false), link: ctx.link });
  }

  await load(false);
  if (!ctx.alive()) return close;
  document.title = "spiked";
  replace(ctx.root, h("div", { class: "bar-top" }, h("h1", {}, "Experiments"), total, h("span", { class: "grow" }),
    h("a", { class: "button primary", href: "#/new" }, "New experiment")),
  h("div", { class: "bar-top" }, chips, h("span", { class: "grow" }), search),
  h("div", { class: "scroll" }, h("table", { class: "list" }, h("thead", {}, h("tr", {},
    h("th", {}, "Id"), h("th", {}, "Name"), h("th", {}, "State"), h("th", { class: "bar" }, "Progress"),
    h("th", { class: "num" }, "Accuracy"), h("th", { class: "num" }, "Loss"), h("th", { class: "wide" }, "Dataset"),
    h("th", { class: "wide" }, "User"), h("th", { class: "wide" }, "Created"), h("th", {}, ""))), body)),
  empty, more);
  const timer = setInterval(() => items.forEach(show), 30000); // "3 min ago"
  return () => { clearInterval(timer); close(); };
}

function debounce(fn) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(fn, 200); };
}
