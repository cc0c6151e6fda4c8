// The dashboard in a real browser: what people see and do.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { Service, openBrowser, openPage, smallSpec } from "./service.mjs";

const SHOTS = "build/screenshots";
let service;
let browser;
let trained; // an experiment that has ended, with more points than a line of a chart

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  service = await Service.start("--max-running", "2");
  browser = await openBrowser("--host-resolver-rules=MAP labserver 127.0.0.1");
});
after(async () => {
  await browser.close();
  await service.end();
});

const pixels = (locator) => locator.evaluate((c) => c.toDataURL());
const untilState = async (page, state, ms = 30000) => page.locator(`h1 + span .badge.${state}`).waitFor({ timeout: ms });

test("a running experiment opens without a login and its chart moves within 10 s", async () => {
  const id = await service.submit(smallSpec(40));
  const page = await openPage(browser, `${service.base}/#/experiments/${id}`);
  const chart = page.locator("[data-title=Loss] canvas");
  await chart.waitFor({ timeout: 10000 });
  const first = await pixels(chart);
  const begin = Date.now();
  while (await pixels(chart) === first) {
    assert.ok(Date.now() - begin < 10000, "the chart stands still");
    await page.waitForTimeout(100);
  }
  await page.locator("[data-title='Firing rate'] canvas").waitFor();
  assert.match(await page.locator("[data-title='Firing rate'] .u-legend").innerText(), /2 plif[\s\S]*6 psn/);
  const raster = page.locator("[data-kind=raster] canvas");
  await raster.waitFor({ timeout: 20000 });
  await untilState(page, "succeeded", 60000);
  trained = id;
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("charts are looked at closely, smoothed and read as tables, and the address says how", async () => {
  const id = trained ?? await service.submit(smallSpec(40));
  while (await service.state(id) !== "succeeded") await new Promise((done) => setTimeout(done, 200));
  const page = await openPage(browser, `${service.base}/#/experiments/${id}`);
  const chart = page.locator("[data-title=Loss]");
  await chart.locator("canvas").waitFor();
  const { items } = await (await fetch(`${service.base}/api/v1/experiments/${id}/metrics`)).json();
  const loss = items.find((s) => s.name === "train/loss");
  assert.ok(loss.n > 1000, "more points than a line has");
  const words = await chart.locator("canvas").getAttribute("aria-label");
  const shown = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  for (const v of [loss.last, loss.min, loss.max]) assert.ok(words.includes(shown.format(v)), `${v} is not in: ${words}`);

  const finer = page.waitForResponse((r) => /train\/loss\?from=\d+&to=\d+/.test(r.url()));
  const box = await chart.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 60, { steps: 4 });
  await page.mouse.up();
  const body = await (await finer).json();
  assert.equal(body.buckets, null, "every point of what is looked at");
  const [, from, to] = page.url().match(/steps=(\d+)-(\d+)/).map(Number);
  assert.ok(from > 0.45 * loss.last_step && to < 0.65 * loss.last_step && to > from, `${from} to ${to}`);

  const before = await pixels(chart.locator("canvas"));
  await page.getByLabel("smoothing").fill("0.9");
  assert.notEqual(await pixels(chart.locator("canvas")), before);
  await page.getByLabel("logarithmic").check();
  await page.locator(".chart-settings select").selectOption("epoch");
  await chart.getByRole("button", { name: "Table" }).click();
  const rows = await chart.locator(".scroll tbody tr").evaluateAll((all) => all.map((tr) => tr.cells[0].innerText.replaceAll(",", "")));
  assert.equal(Number(rows[0]), to);
  assert.ok(rows.every((step) => step >= from && step <= to));
  const exact = body.points.find(([step]) => step === to);
  assert.equal(await chart.locator(".scroll tbody tr").first().locator("td").nth(2).innerText(), shown.format(exact[2]));

  const copy = await openPage(browser, page.url());
  await copy.locator("[data-title=Loss] canvas").waitFor();
  assert.equal(await copy.getByLabel("smoothing").inputValue(), "0.9");
  assert.ok(await copy.getByLabel("logarithmic").isChecked());
  await copy.getByRole("button", { name: /show all/ }).click();
  assert.doesNotMatch(copy.url(), /steps=/);
  assert.deepEqual([...page.faults, ...copy.faults], []);
  await copy.context().close();
  await page.context().close();
});

test("the spike raster shows the spikes that were recorded and follows the newest record", async () => {
  const id = await service.submit(smallSpec(30));
  const page = await openPage(browser, `${service.base}/#/experiments/${id}`);
  const caption = page.locator("[data-kind=raster] .bar-top .quiet").last();
  await page.locator("[data-kind=raster] canvas").waitFor({ timeout: 20000 });
  const first = await caption.innerText();
  await page.waitForFunction(([text]) => [...document.querySelectorAll("[data-kind=raster] .bar-top .quiet")].pop().innerText !== text,
    [first], { timeout: 20000 });
  await untilState(page, "succeeded", 60000);
  await page.waitForTimeout(500);
  const api = `${service.base}/api/v1/experiments/${id}/monitors/2/raster`;
  const last = await (await fetch(`${api}/last`)).json();
  const bits = Buffer.from(last.data, "base64");
  const spikes = bits.reduce((n, byte) => n + byte.toString(2).replaceAll("0", "").length, 0);
  const share = (100 * spikes / (last.dims[0] * last.dims[1])).toFixed(2);
  assert.match(await caption.innerText(), new RegExp(`${share.replace(".", "\\.")} %`));
  const canvas = page.locator("[data-kind=raster] canvas");
  assert.match(await canvas.getAttribute("aria-label"), new RegExp(`${share.replace(".", "\\.")} % fire`));
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + 60, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + 160, box.y + 60, { steps: 3 });
  await page.mouse.up();
  await page.getByRole("button", { name: "all neurons" }).waitFor();
  await page.mouse.move(box.x + 70, box.y + 45);
  const [, neuron, fired] = (await page.locator(".readout").innerText()).match(/^neuron (\d+): (\d) of 4 time-steps/);
  const [left, right] = [40, 64]; // margins; the drag went from 20 to 120 pixels into the picture, the pointer is 30 into it
  const pitch = (box.width - left - right) / last.dims[1];
  assert.ok(Math.abs(neuron - (20 + 100 * 30 / (box.width - left - right)) / pitch) < 3, `neuron ${neuron}`);
  const bitsOf = [0, 1, 2, 3].map((t) => bits[t * Math.ceil(last.dims[1] / 8) + (neuron >> 3)] >> (neuron & 7) & 1);
  assert.equal(Number(fired), bitsOf.reduce((a, b) => a + b));
  const near = await pixels(canvas);
  await canvas.focus();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await pixels(canvas), near, "an arrow moves what is seen");
  await page.keyboard.press("Escape");
  assert.ok(await page.getByRole("button", { name: "all neurons" }).isHidden());
  await page.locator("[data-kind=raster] select").selectOption("6");
  await page.waitForTimeout(300);
  assert.match(await caption.innerText(), /epoch/);
  for (const kind of ["psn_weight", "membrane"]) await page.locator(`[data-kind=${kind}] canvas`).waitFor();
  await page.screenshot({ path: `${SHOTS}/experiment-light.png`, fullPage: true });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the profile shows where the time goes, while a training runs and after it", async () => {
  const id = await service.submit(smallSpec(30));
  const page = await openPage(browser, `${service.base}/#/experiments/${id}`);
  const profile = page.locator("[data-title=Profile]");
  await profile.waitFor({ timeout: 20000 });
  const note = profile.locator("h2 .quiet");
  const first = await note.innerText();
  await page.waitForFunction(([text]) => document.querySelector("[data-title=Profile] h2 .quiet").innerText !== text, [first], { timeout: 30000 });
  await untilState(page, "succeeded", 60000);
  const check = async () => {
    const last = await (await fetch(`${service.base}/api/v1/experiments/${id}/profile`)).json();
    await profile.locator("h2 .quiet", { hasText: `step ${last.step.toLocaleString("en")} ` }).waitFor();
    assert.equal(await profile.locator("tbody tr").count(), 8);
    const linear = last.layers[5];
    const row = profile.locator("tr[data-layer='5']");
    const cells = await row.locator("td").allInnerTexts();
    assert.match(cells[0], /^5 linear/);
    assert.match(cells[1], new RegExp(`${(100 * (linear.forward_ms + linear.backward_ms) / last.step_ms).toFixed(1)} %`));
    assert.equal(cells[4], `${(100 * linear.input_density).toFixed(2)} %`);
    const paths = [linear.forward_path, linear.backward_data_path, linear.backward_weights_path];
    assert.equal(cells[5], new Set(paths).size === 1 ? paths[0] : paths.join(" / "));
    assert.match(await profile.locator("tr[data-layer='2']").innerText(), /^2 plif/);
    const dearest = [...last.layers].sort((a, b) => b.forward_ms + b.backward_ms - a.forward_ms - a.backward_ms)[0];
    const widths = await profile.locator(`tr[data-layer='${dearest.path}'] div.cost`).evaluate((bar) =>
      [bar, ...bar.children].map((node) => node.getBoundingClientRect().width));
    assert.ok(Math.abs(widths[1] + widths[2] - widths[0]) < 2, `the dearest layer fills ${widths}`);
    assert.match(await profile.locator(".figures").innerText(), /whole step[\s\S]* ms[\s\S]*samples\/s\s+[\d,]+/);
  };
  await check();
  await page.reload();
  await profile.waitFor();
  await check();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the list shows new experiments and their states without a reload", async () => {
  const page = await openPage(browser, `${service.base}/#/`);
  await page.locator("h1", { hasText: "Experiments" }).waitFor();
  const id = await service.submit(smallSpec(8, { name: "comes by itself" }));
  const row = page.locator(`tr[data-id="${id}"]`);
  await row.waitFor({ timeout: 5000 });
  await row.locator(".badge.running").waitFor({ timeout: 20000 });
  await row.locator(".badge.succeeded").waitFor({ timeout: 60000 });
  assert.match(await row.innerText(), /\d+\.\d\d %/);
  await page.getByRole("button", { name: "Failed" }).click();
  await row.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "All" }).click();
  await page.getByLabel("Search").fill("comes by");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr[data-id]").length === 1);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a spec is checked while it is written, then submitted and cancelled from the page", async () => {
  const page = await openPage(browser, `${service.base}/#/new`);
  const area = page.getByLabel("Experiment spec, JSON");
  await page.locator(".ok", { hasText: "valid" }).waitFor();
  await area.fill(JSON.stringify(smallSpec(2000, { train: { epochs: 2000, batchsize: 16 } })));
  await page.locator(".faults li", { hasText: "/train/batchsize" }).waitFor();
  assert.match(await page.locator(".faults").innerText(), /did you mean 'batch_size'/);
  assert.ok(await page.getByRole("button", { name: "Submit" }).isDisabled());
  await area.fill(JSON.stringify(smallSpec(5000, { name: "to be cancelled" })));
  await page.locator(".ok", { hasText: "parameters" }).waitFor();
  await page.getByRole("button", { name: "Submit" }).click();
  await page.waitForURL(/#\/experiments\/\d+$/);
  await untilState(page, "running");
  await page.getByRole("button", { name: "Cancel" }).click();
  await untilState(page, "cancelled");
  await page.getByRole("link", { name: "Log" }).click();
  await page.locator("pre.log", { hasText: "dataset glyphs" }).waitFor();
  await page.getByRole("link", { name: "Files" }).click();
  await page.locator("td", { hasText: "stdout.log" }).waitFor();
  assert.deepEqual(page.faults.filter((f) => !f.includes("400")), []); // a refused spec is a 400 in the console
  await page.context().close();
});

test("what people type is text, never markup", async () => {
  const name = "<img src=x onerror=\"document.title='broken'\"><b>bold</b>";
  const id = await service.submit(smallSpec(1, { name, tags: ["<i>tag</i>"] }));
  const page = await openPage(browser, `${service.base}/#/`);
  await page.locator(`tr[data-id="${id}"]`).waitFor();
  assert.ok((await page.locator(`tr[data-id="${id}"]`).innerText()).includes("<b>bold</b>"));
  await page.goto(`${service.base}/#/experiments/${id}`);
  await page.locator("h1", { hasText: "<b>bold</b>" }).waitFor();
  assert.equal(await page.locator("main img, main i, main b").count(), 0);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the page comes back by itself when the daemon was away", async () => {
  const id = await service.submit(smallSpec(60));
  const page = await openPage(browser, `${service.base}/#/experiments/${id}`);
  await page.locator("#link.up").waitFor();
  await untilState(page, "running");
  await page.waitForTimeout(500);
  await service.stop();
  await page.locator("#link:not(.up)").waitFor();
  await service.run();
  await page.locator("#link.up").waitFor({ timeout: 15000 });
  await untilState(page, "succeeded", 60000);
  await page.context().close();
});

test("from another address the same page says how to come in", async () => {
  const page = await openPage(browser, `http://labserver:${service.port}/`);
  await page.locator("h1", { hasText: "not for this address" }).waitFor();
  assert.match(await page.locator("pre").innerText(), new RegExp(`ssh -N -L ${service.port}:127.0.0.1:${service.port} YOUR_NAME@`));
  const font = await page.locator("h1").evaluate((h) => getComputedStyle(h).fontFamily);
  assert.match(font, /system-ui/); // the style sheet came along
  await page.screenshot({ path: `${SHOTS}/help.png` });
  await page.context().close();
});

test("every page fits narrow and wide screens, light and dark", async () => {
  const id = await service.submit(smallSpec(6));
  while (await service.state(id) !== "succeeded") await new Promise((done) => setTimeout(done, 200));
  for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
    const page = await openPage(browser, `${service.base}/#/`, { colorScheme, viewport: { width, height: 850 } });
    for (const [name, hash] of [["list", "#/"], ["experiment", `#/experiments/${id}`], ["new", "#/new"], ["spec", `#/experiments/${id}/spec`]]) {
      await page.goto(`${service.base}/${hash}`);
      await page.locator("main h1").waitFor();
      await page.waitForTimeout(400);
      const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      assert.ok(wide <= room, `${name} is ${wide} px wide on ${room} px (${colorScheme})`);
      await page.screenshot({ path: `${SHOTS}/${name}-${colorScheme}-${width}.png`, fullPage: true });
    }
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }
});
