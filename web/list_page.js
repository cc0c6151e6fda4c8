// list_page: all experiments, newest first, live. What is in sight changes where it stands; rows come and go only while the
// pointer is elsewhere, so that nobody clicks what just moved.
import { hashQuery, setHashQuery } from "./address.js";
import { read } from "./api.js";
import { Selection } from "./bulk.js";
import { h, replace, setText } from "./dom.js";
import { openEvents } from "./events.js";
import * as format from "./format.js";
import { columnChooser, makeColumns } from "./list_columns.js";
import { filterText, fits, parseFilter } from "./list_filter.js";
import { RowWindow } from "./row_window.js";
import { Sparklines } from "./sparkline.js";

const PAGE = 200;
const CHIPS = [["", "All"], ["queued,blocked,starting,running,stopping,backoff", "Active"], ["succeeded", "Succeeded"], ["failed", "Failed"],
  ["cancelled,paused,held", "Stopped"]];

export async function listPage(ctx) {
  const items = new Map(); // id -> experiment, also those that wait to be shown
  const rows = new Map(); // id -> <tr>
  const selection = new Selection(() => showPicked());
  const columns = makeColumns(new Sparklines("train/loss"), (x) => selection.box(x.id, () => order));
  const hidden = new Set((hashQuery().get("hide") || "").split(",").filter(Boolean));
  let filter = parseFilter(hashQuery().get("q") || "");
  let order = []; // ids as they are shown, newest first
  let arrived = new Set(); // fit, and are not shown yet
  let total = 0;
  let cursor = null;
  let loading = null;
  let version = 0; // of what was asked for
  let current = -1; // the row that j and k are at
  let close = () => {};

  const count = h("span", { class: "quiet", role: "status" });
  const fresh = h("button", { class: "chip fresh", hidden: true, onclick: () => { settle(true); scrollTo({ top: 0 }); } });
  const search = h("input", { type: "search", value: filterText(filter), placeholder: "name, state:running, user:ada, tag:demo", "aria-label": "Search",
    oninput: debounce(() => choose(parseFilter(search.value))) });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }, CHIPS.map(([states, label]) =>
    h("button", { class: "chip", dataset: { states }, onclick: () => {
      const next = { ...filter, state: states };
      if (!states) delete next.state;
      search.value = filterText(next);
      choose(next);
    } }, label)));
  const head = h("tr");
  const body = h("tbody");
  const table = h("table", { class: "list", onpointerleave: () => settle(false) }, h("thead", {}, head), body);
  const empty = h("p", { class: "empty", hidden: true });
  const view = new RowWindow(body, { count: () => Math.max(order.length, total), row: (i) => rowOf(order[i]), seen: (from, to) => needed(to) });

  function rowOf(id) {
    if (id === undefined) return null;
    let row = rows.get(id);
    if (!row) {
      rows.set(id, row = h("tr", { dataset: { id } }));
      fill(row, items.get(id));
    }
    return row;
  }

  function fill(row, x) {
    const shown = columns.filter((c) => !hidden.has(c.name));
    const focus = [...row.querySelectorAll("a, button, input")].indexOf(document.activeElement);
    replace(row, shown.map((c) => h("td", { class: c.kind }, c.cell(x))));
    if (focus >= 0) row.querySelectorAll("a, button, input")[focus]?.focus();
  }

  function showHead() {
    const all = h("input", { type: "checkbox", "aria-label": "Select all that are listed", onclick: () => selection.all(order, all.checked) });
    replace(head, columns.filter((c) => !hidden.has(c.name)).map((c) => h("th", { class: c.kind.replace("quiet", "") || null, title: c.title, scope: "col" }, c.name === "pick" ? all : c.label)));
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(chip.dataset.states === (filter.state ?? "")));
    for (const [id, row] of rows) if (items.has(id)) fill(row, items.get(id));
  }

  function showPicked() {
    for (const [id, row] of rows) row.querySelector("td.pick input").checked = selection.ids.has(id);
  }

  function showCount() {
    setText(count, `${format.count(total)} experiment${total === 1 ? "" : "s"}`);
    table.setAttribute("aria-rowcount", String(total + 1));
    fresh.hidden = arrived.size === 0;
    setText(fresh, `${arrived.size} new`);
    empty.hidden = total > 0 || arrived.size > 0;
    replace(empty, filterText(filter) === "" ? ["No experiment yet. ", h("a", { href: "#/new" }, "Submit the first one"), "."] : "Nothing fits this filter.");
  }

  /** Lets rows come and go: at once when asked for, else only while the pointer is elsewhere and the top is in sight. */
  function settle(asked) {
    const pointed = table.matches(":hover") && !asked;
    if (pointed) return showCount();
    const gone = order.filter((id) => !items.has(id) || !fits(filter, items.get(id)));
    if (gone.length) {
      const leave = new Set(gone);
      order = order.filter((id) => !leave.has(id));
      total -= gone.length;
      for (const id of gone) rows.delete(id);
    }
    if (arrived.size && (asked || body.getBoundingClientRect().top > -view.rowHeight())) {
      order = [...new Set([...arrived, ...order])].sort((a, b) => b - a);
      total += arrived.size;
      arrived = new Set();
    }
    showCount();
    view.update();
  }

  function change(x) {
    const known = items.has(x.id) && order.includes(x.id);
    items.set(x.id, x);
    if (rows.has(x.id)) fill(rows.get(x.id), x);
    if (known) {
      if (!fits(filter, x)) settle(false);
    } else if (!fits(filter, x)) {
      if (arrived.delete(x.id)) showCount();
    } else if (order.length === 0 || cursor === null || x.id > order.at(-1)) {
      arrived.add(x.id); // older ones come with their page
      settle(false);
    }
  }

  function onEvent(name, data) {
    if (name === "experiment.state") {
      change(data);
      ctx.slots();
    } else if (name === "experiment.progress" && items.has(data.id)) {
      change({ ...items.get(data.id), progress: data.progress, metrics: data.metrics });
    } else if (name === "experiment.deleted") {
      items.delete(data.id);
      selection.drop(data.id);
      arrived.delete(data.id);
      settle(false);
    }
  }

  async function loadPage(first) {
    const mine = version;
    const query = new URLSearchParams({ limit: PAGE, ...filter });
    if (!first) query.set("cursor", cursor);
    const { data, eventId } = await read(`/experiments?${query}`);
    if (!ctx.alive() || mine !== version) return null;
    for (const x of data.items) items.set(x.id, x);
    order = first ? data.items.map((x) => x.id) : [...order, ...data.items.map((x) => x.id).filter((id) => id < order.at(-1))];
    cursor = data.next_cursor;
    total = Math.max(data.total - arrived.size, order.length);
    return eventId;
  }

  /** Pages up to this row, one after the other. */
  function needed(row) {
    if (loading || cursor === null || order.length >= row) return;
    loading = loadPage(false).catch((problem) => setText(count, problem.message)).then((ok) => {
      loading = null;
      if (ok) view.update();
    });
  }

  async function load() {
    version++;
    loading = null;
    items.clear();
    selection.clear();
    rows.clear();
    arrived = new Set();
    current = -1;
    const eventId = await loadPage(true);
    if (!eventId) return;
    showHead();
    showCount();
    view.update();
    close();
    close = openEvents("experiments", eventId, { event: onEvent, reset: load, link: ctx.link });
  }

  async function choose(next) {
    filter = next;
    setHashQuery({ q: filterText(filter) });
    try { await load(); } catch (problem) { // a state that does not exist, say
      replace(empty, problem.message);
      empty.hidden = false;
    }
  }

  function go(by) {
    current = Math.max(0, Math.min(order.length - 1, current + by));
    view.scrollTo(current);
    rows.get(order[current])?.querySelector("td.name a").focus();
  }

  document.title = "spiked";
  replace(ctx.root, h("div", { class: "bar-top" }, h("h1", {}, "Experiments"), count, fresh, h("span", { class: "grow" }),
    h("a", { class: "button primary", href: "#/new" }, "New experiment")),
  h("div", { class: "bar-top" }, chips, h("span", { class: "grow" }), search, columnChooser(columns, hidden, () => {
    setHashQuery({ hide: [...hidden].join(",") });
    showHead();
  })), selection.node, h("div", { class: "scroll list-frame" }, table), empty);
  await load();
  ctx.keys({ "/": () => search.focus(), j: () => go(1), k: () => go(-1) });
  const timer = setInterval(() => rows.forEach((row, id) => { if (row.isConnected && items.has(id)) fill(row, items.get(id)); }), 30000); // "3 min ago"
  return () => { clearInterval(timer); close(); view.close(); };
}

function debounce(fn) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(fn, 200); };
}
