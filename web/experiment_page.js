// experiment_page: one experiment, live: what it learns, how it spikes, its log, spec, attempts and files.
import { h, replace, setText } from "./dom.js";
import { artifactUrl, read, readText, seriesPath } from "./api.js";
import { openEvents } from "./events.js";
import { hashPath } from "./address.js";
import { LineChart, PALETTE } from "./chart.js";
import { chartAxis } from "./chart_axis.js";
import { ChartSettings } from "./chart_settings.js";
import { ProfileView } from "./profile_view.js";
import { KINDS, RecordsView } from "./records_view.js";
import { SeriesStore } from "./series_store.js";
import { FINAL, actionButtons, progressBar, progressText, stateBadge } from "./badges.js";
import * as format from "./format.js";

const DRAW_MS = 200;
const SILENT_RATE = 0.001; // below this a layer passes next to nothing on
const SATURATED_RATE = 0.9;

const colorOf = (i) => PALETTE[i % PALETTE.length];
const layerOf = (name) => name.slice(0, name.lastIndexOf("/"));
const byLayer = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** What people call a layer: its path and what it is. */
function layerNames(spec) {
  const names = new Map();
  const models = spec.network.neuron?.model;
  spec.network.layers.forEach((l, i) => names.set(l.name ?? String(i), l.type === "neuron" ? l.model ?? models ?? "lif" : l.type));
  return (path) => (names.has(path) ? `${path} ${names.get(path)}` : path);
}

/** Lines of every series that ends in `suffix`, one a layer. */
function layerLines(store, suffix) {
  return store.names().filter((n) => n.endsWith(suffix) && !n.startsWith("train/")).sort(byLayer)
    .map((name, i) => ({ name, label: store.nameOf(layerOf(name)), color: colorOf(i) }));
}

const fixedLines = (list) => () => list.map(([name, label, color, points]) => ({ name, label, color, points }));

function makeCharts(store, frame) {
  const chart = (title, lines, options) => new LineChart(title, store, lines, frame, options);
  return {
    loss: chart("Loss", fixedLines([["train/loss", "training", "--line-1", false],
      ["val/loss", "validation", "--line-2", true], ["test/loss", "test", "--line-3", true]]), { min: 0, log: true }),
    accuracy: chart("Accuracy", fixedLines([["train/accuracy", "training", "--line-1", false],
      ["val/accuracy", "validation", "--line-2", true], ["test/accuracy", "test", "--line-3", true]]), { min: 0, max: 1 }),
    rate: chart("Firing rate", () => layerLines(store, "/firing_rate"),
      { min: 0, max: 1, unit: "spikes per neuron and time-step, by layer" }),
    tau: chart("Membrane time constant", () => layerLines(store, "/tau"), { unit: "time-steps, by layer", log: true }),
    grad: chart("Gradient norm", () => layerLines(store, "/grad_norm"), { min: 0, unit: "by layer", log: true }),
  };
}

/** Layers with their present rate; says which are silent or saturated. */
function ratesTable(store) {
  const rows = layerLines(store, "/firing_rate").map(({ name, label, color }) => {
    const rate = store.last(name);
    const word = rate < SILENT_RATE ? "silent" : rate > SATURATED_RATE ? "saturated" : "";
    const dot = h("span", { class: "dot" });
    dot.style.setProperty("--dot", `var(${color})`); // a style attribute would need a weaker security policy
    return h("tr", {}, h("td", {}, dot, label),
      h("td", { class: "bar" }, h("progress", { max: 1, value: rate ?? 0, "aria-label": `firing rate of ${label}` })),
      h("td", { class: "num" }, format.number(rate)), h("td", {}, word ? h("span", { class: "badge failed" }, word) : ""));
  });
  return rows.length ? h("table", {}, h("tbody", {}, rows)) : h("p", { class: "empty" }, "no points yet");
}

const TABS = [["", "Overview"], ["log", "Log"], ["spec", "Spec"], ["attempts", "Attempts"], ["files", "Files"]];

export async function experimentPage(ctx, id) {
  const first = await read(`/experiments/${encodeURIComponent(id)}`);
  if (!ctx.alive()) return () => {};
  let x = first.data;
  let tab = hashPath()[2] || "";
  let drawTimer = 0;
  let close = () => {};
  let logTimer = 0;
  const store = new SeriesStore();
  store.nameOf = layerNames(x.spec);
  const settings = new ChartSettings(() => draw());
  const charts = makeCharts(store, {
    settings,
    axis: () => chartAxis(settings.axis, store, x.progress.steps_total / x.progress.epochs),
    fetch: async (name, { from, to, points }) =>
      (await read(`/experiments/${x.id}/metrics/${seriesPath(name)}?from=${from}&to=${to}&max_points=${points}`)).data,
  });
  const views = new Map(); // kind -> RecordsView
  const profile = new ProfileView();

  const title = h("h1");
  const badge = h("span");
  const actions = h("div", { class: "actions" });
  const where = h("p", { class: "quiet" });
  const why = h("p", { class: "message", hidden: true });
  const bar = h("div");
  const figures = h("dl", { class: "figures" });
  const rates = h("div");
  const rateCard = h("section", { class: "card rates" }, h("h2", {}, "Layers now ",
    h("span", { class: "quiet" }, "firing rate, share of neurons that fire at a time-step")), rates);
  const spikes = h("div", { class: "grid" });
  const other = h("div");
  const overview = h("div", {}, settings.node, h("div", { class: "grid" }, charts.loss.node, charts.accuracy.node, charts.rate.node, rateCard),
    spikes, h("div", { class: "grid" }, charts.tau.node, charts.grad.node), profile.node);
  const tabs = h("nav", { class: "tabs", "aria-label": "Parts of the experiment" }, TABS.map(([name, label]) =>
    h("a", { href: `#/experiments/${x.id}${name ? `/${name}` : ""}`, "aria-current": name === tab ? "page" : null }, label)));

  function showHead() {
    setText(title, x.name || `Experiment ${x.id}`);
    document.title = `${x.name || `#${x.id}`} · spiked`;
    replace(badge, stateBadge(x));
    replace(actions, actionButtons(x, { full: true, onDeleted: () => { location.hash = "#/"; } }),
      h("a", { class: "button", href: `#/new/${x.id}` }, "New from this"));
    setText(where, `#${x.id} · ${x.dataset} · T = ${x.time_steps} · ${x.user} · attempt ${x.attempt}`);
    const words = x.message || (x.reason !== "none" && x.reason !== "user_request" ? x.reason.replaceAll("_", " ") : "");
    why.hidden = !words;
    setText(why, words);
    replace(bar, progressBar(x), h("span", { class: "quiet" }, progressText(x)));
    const m = x.metrics;
    replace(figures, [["training loss", format.number(m["train/loss"])], ["training accuracy", format.percent(m["train/accuracy"])],
      ["validation accuracy", format.percent(m["val/accuracy"])], ["test accuracy", format.percent(m["test/accuracy"])],
      ["took", x.started_at ? format.duration(((x.ended_at ? Date.parse(x.ended_at) : Date.now()) - Date.parse(x.started_at)) / 1000) : "–"],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  function draw() {
    drawTimer = 0;
    if (tab) return;
    for (const chart of Object.values(charts)) chart.draw();
    charts.tau.node.hidden = layerLines(store, "/tau").length === 0;
    charts.grad.node.hidden = layerLines(store, "/grad_norm").length === 0;
    replace(rates, ratesTable(store));
  }
  const forgetCloser = () => { for (const chart of Object.values(charts)) chart.forget(); };
  const drawSoon = () => { if (!drawTimer) drawTimer = setTimeout(draw, DRAW_MS); };

  function grow(layer, kind, records) {
    if (!KINDS.includes(kind)) return;
    let view = views.get(kind);
    if (!view) {
      views.set(kind, view = new RecordsView(x.id, kind));
      replace(spikes, KINDS.map((k) => views.get(k)?.node));
    }
    view.grow(layer, records);
  }

  function onEvent(name, data) {
    if (data.id !== x.id) return;
    if (name === "experiment.state") { x = { ...x, ...data }; showHead(); ctx.slots(); refreshTab(); }
    if (name === "experiment.progress") { x = { ...x, progress: data.progress, metrics: data.metrics }; showHead(); }
    if (name === "experiment.points") { for (const [series, rows] of Object.entries(data.series)) store.add(series, rows); drawSoon(); }
    if (name === "experiment.record") grow(data.layer, data.kind, data.index + 1);
    if (name === "experiment.profile") profile.show(data.profile);
    if (name === "points.cut") { store.cut(data.step); forgetCloser(); drawSoon(); }
    if (name === "experiment.deleted") location.hash = "#/";
  }

  async function loadAll() {
    const { data, eventId } = await read(`/experiments/${x.id}`);
    x = data;
    const { data: list } = await read(`/experiments/${x.id}/metrics`);
    const bodies = await Promise.all(list.items.filter((s) => !s.name.startsWith("sys/"))
      .map((s) => read(`/experiments/${x.id}/metrics/${seriesPath(s.name)}`)));
    const { data: monitors } = await read(`/experiments/${x.id}/monitors`);
    const measured = monitors.items.some((m) => m.kind === "profile");
    const latest = measured ? (await read(`/experiments/${x.id}/profile`)).data : null;
    if (!ctx.alive()) return;
    store.clear();
    forgetCloser();
    for (const { data: body } of bodies) store.load(body);
    showHead();
    for (const m of monitors.items) grow(m.layer, m.kind, m.records);
    if (latest) profile.show(latest);
    draw();
    close();
    close = openEvents(`experiment:${x.id}`, eventId, { event: onEvent, reset: loadAll, link: ctx.link });
  }

  async function showLog() {
    const box = h("pre", { class: "log", tabindex: "0" });
    replace(other, box);
    const follow = async () => {
      try {
        const { text } = await readText(`/experiments/${x.id}/logs?tail=1000`);
        const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
        setText(box, text || "The worker has not written a line yet.");
        if (atEnd) box.scrollTop = box.scrollHeight;
      } catch (problem) { setText(box, problem.message); }
      if (tab === "log" && ctx.alive() && !FINAL.has(x.state)) logTimer = setTimeout(follow, 2000);
    };
    await follow();
  }

  async function showAttempts() {
    const { data } = await read(`/experiments/${x.id}/attempts`);
    replace(other, h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["Attempt", "Host", "Process", "Started", "Ended",
      "Resumed at step", "Reason"].map((t) => h("th", {}, t)))), h("tbody", {}, data.items.map((a) => h("tr", {}, h("td", {}, a.attempt),
      h("td", {}, a.host || "–"), h("td", {}, a.pid || "–"), h("td", {}, format.clock(a.started_at)), h("td", {}, format.clock(a.ended_at)),
      h("td", { class: "num" }, format.count(a.resume_step)), h("td", {}, a.reason.replaceAll("_", " "))))))));
  }

  async function showFiles() {
    const { data } = await read(`/experiments/${x.id}/artifacts`);
    replace(other, h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "File"), h("th", { class: "num" }, "Size"),
      h("th", {}, "Written"))), h("tbody", {}, data.items.map((a) => h("tr", {}, h("td", {}, h("a", { href: artifactUrl(x.id, a.path), download: a.path }, a.path)),
      h("td", { class: "num" }, format.bytes(a.bytes)), h("td", {}, format.clock(a.modified_at))))))));
  }

  async function refreshTab() {
    clearTimeout(logTimer);
    overview.hidden = tab !== "";
    other.hidden = tab === "";
    try {
      if (tab === "log") await showLog();
      else if (tab === "attempts") await showAttempts();
      else if (tab === "files") await showFiles();
      else if (tab === "spec") replace(other, h("pre", { class: "log" }, JSON.stringify(x.spec, null, 2)));
    } catch (problem) { replace(other, h("p", { class: "empty" }, problem.message)); }
  }

  replace(ctx.root, h("div", { class: "bar-top" }, title, badge, h("span", { class: "grow" }), actions), where, why,
    h("div", { class: "bar-wide" }, bar), figures, tabs, overview, other);
  showHead();
  if (!TABS.some(([name]) => name === tab)) tab = "";
  await Promise.all([loadAll(), refreshTab()]);
  const tick = setInterval(() => { if (x.state === "running") showHead(); }, 5000);
  return () => {
    clearInterval(tick);
    clearTimeout(drawTimer);
    clearTimeout(logTimer);
    close();
    for (const chart of Object.values(charts)) chart.close();
  };
}
