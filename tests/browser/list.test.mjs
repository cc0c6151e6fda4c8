// The list of experiments with more of them than a screen or a page of the API holds.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { verdict } from "../../web/bulk.js";
import { filterText, fits, parseFilter } from "../../web/list_filter.js";
import { Service, openBrowser, openPage, smallSpec } from "./service.mjs";

const MANY = 430;
let service;
let browser;

before(async () => {
  service = await Service.start("--max-running", "1");
  browser = await openBrowser();
  assert.equal((await fetch(`${service.base}/api/v1/queue/pause`, { method: "POST" })).status, 200);
  for (let i = 1; i <= MANY; i++) await service.submit(smallSpec(1, { name: `run ${i}`, tags: i % 2 ? ["odd"] : [] }));
});
after(async () => {
  await browser.close();
  await service.end();
});

const shown = (page) => page.locator("tbody tr[data-id]");
const top = (row) => row.evaluate((tr) => tr.getBoundingClientRect().top);

test("the words of a filter are those of the API, there and back", () => {
  const filter = parseFilter("  tag:odd state:failed,queued two words sweep:3 user:ada ");
  assert.deepEqual(filter, { sweep: "3", tag: "odd", state: "failed,queued", user: "ada", q: "two words" });
  assert.deepEqual(parseFilter(filterText(filter)), filter);
  assert.deepEqual(parseFilter("time: 12:30 state:"), { q: "time: 12:30 state:" });
  const x = { name: "PSN two words", dataset: "glyphs", user: "ada", state: "queued", tags: ["odd"], sweep: 3 };
  assert.ok(fits(filter, x));
  for (const change of [{ state: "running" }, { user: "bob" }, { tags: [] }, { sweep: null }, { name: "two" }]) assert.ok(!fits(filter, { ...x, ...change }), JSON.stringify(change));
});

test("hundreds of experiments are a few rows, and scrolling reaches the first of them", async () => {
  const page = await openPage(browser, `${service.base}/#/`);
  await page.locator(`tr[data-id="${MANY}"]`).waitFor();
  assert.equal(await page.locator("[role=status]", { hasText: `${MANY} experiments` }).count(), 1);
  const room = await page.evaluate(() => document.body.scrollHeight);
  const seen = new Set();
  for (let at = 0; at < room; at += 500) {
    await page.evaluate((y) => scrollTo(0, y), at);
    await page.waitForFunction(() => [...document.querySelectorAll("tbody tr[data-id]")].some((tr) => {
      const { top: y } = tr.getBoundingClientRect();
      return y > 0 && y < innerHeight;
    }));
    const ids = await shown(page).evaluateAll((all) => all.map((tr) => Number(tr.dataset.id)));
    assert.ok(ids.length < 60, `${ids.length} rows in the document`);
    ids.forEach((id, i) => assert.ok(i === 0 || id === ids[i - 1] - 1, `${ids}`));
    ids.forEach((id) => seen.add(id));
  }
  assert.equal(seen.size, MANY);
  assert.ok(Math.abs(await page.evaluate(() => document.body.scrollHeight) - room) < 80, "the page kept its length");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("what is under the pointer stays there while others arrive and leave", async () => {
  const page = await openPage(browser, `${service.base}/#/?q=tag%3Amoves`);
  await page.locator(".empty", { hasText: "Nothing fits" }).waitFor();
  const first = await service.submit(smallSpec(1, { tags: ["moves"] }));
  const second = await service.submit(smallSpec(1, { tags: ["moves"] }));
  const row = page.locator(`tr[data-id="${first}"]`);
  await row.waitFor();
  await page.locator(`tr[data-id="${second}"]`).waitFor();
  await row.hover();
  const before = await top(row);
  const third = await service.submit(smallSpec(1, { tags: ["moves"] }));
  await page.getByRole("button", { name: "1 new" }).waitFor();
  const gone = await fetch(`${service.base}/api/v1/experiments/${second}/cancel`, { method: "POST" });
  assert.equal(gone.status, 202);
  await page.locator(`tr[data-id="${second}"] .badge.cancelled`).waitFor();
  assert.equal(await top(row), before);
  assert.equal(await page.locator(`tr[data-id="${third}"]`).count(), 0);
  await page.mouse.move(5, 5);
  await page.locator(`tr[data-id="${third}"]`).waitFor();
  assert.ok(await page.locator(".fresh").isHidden());
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("far down the list what arrived is told, and one click away", async () => {
  const page = await openPage(browser, `${service.base}/#/`);
  await shown(page).first().waitFor();
  await page.evaluate(() => scrollTo(0, 6000));
  const before = await shown(page).evaluateAll((all) => all.map((tr) => tr.dataset.id));
  const id = await service.submit(smallSpec(1));
  const chip = page.getByRole("button", { name: "1 new" });
  await chip.waitFor();
  assert.deepEqual(await shown(page).evaluateAll((all) => all.map((tr) => tr.dataset.id)), before);
  await chip.click();
  await page.locator(`tr[data-id="${id}"]`).waitFor();
  assert.equal(await page.evaluate(() => scrollY), 0);
  assert.ok(await chip.isHidden());
  await page.context().close();
});

test("the address keeps filter and columns, and a wrong filter says what is wrong", async () => {
  const page = await openPage(browser, `${service.base}/#/`);
  await page.getByLabel("Search").fill("tag:odd run 42");
  await page.locator("[role=status]", { hasText: /^5 experiments$/ }).waitFor(); // 421, 423 ... 429
  await page.locator("summary", { hasText: "Columns" }).click();
  await page.getByLabel("Dataset").uncheck();
  assert.equal(await page.locator("th", { hasText: "Dataset" }).count(), 0);
  const copy = await openPage(browser, page.url());
  await copy.locator("[role=status]", { hasText: /^5 experiments$/ }).waitFor();
  assert.equal(await copy.getByLabel("Search").inputValue(), "tag:odd run 42");
  assert.equal(await copy.locator("th", { hasText: "Dataset" }).count(), 0);
  await copy.getByLabel("Search").fill("state:nowhere");
  await copy.locator(".empty", { hasText: "'nowhere' is not a state" }).waitFor();
  await copy.context().close();
  await page.context().close();
});

test("many experiments are cancelled at once, and what was refused is told", async () => {
  const page = await openPage(browser, `${service.base}/#/?q=tag%3Aodd`);
  page.on("dialog", (dialog) => dialog.accept());
  await shown(page).first().waitFor();
  const ids = await shown(page).evaluateAll((all) => all.slice(0, 6).map((tr) => Number(tr.dataset.id)));
  await fetch(`${service.base}/api/v1/experiments/${ids[2]}/cancel`, { method: "POST" });
  await page.locator(`tr[data-id="${ids[2]}"] .badge.cancelled`).waitFor();
  await page.getByLabel(`Select #${ids[1]}`).click();
  await page.getByLabel(`Select #${ids[4]}`).click({ modifiers: ["Shift"] });
  const bar = page.getByRole("group", { name: "Selected experiments" });
  assert.match(await bar.innerText(), /^4 selected/);
  await bar.getByRole("button", { name: "Cancel" }).click();
  const note = page.locator(".note", { hasText: "Cancel: 3 of 4 done" });
  await note.waitFor();
  assert.match(await note.innerText(), new RegExp(`#${ids[2]}: `));
  for (const [i, id] of ids.entries()) {
    assert.equal(await service.state(id), i >= 1 && i <= 4 ? "cancelled" : "queued", `#${id}`);
  }
  assert.ok(await bar.isHidden());
  await page.getByLabel("Select all that are listed").click();
  assert.match(await bar.innerText(), /^200 selected/);
  assert.deepEqual(page.faults, []);
  await page.context().close();
  assert.equal(verdict("Retry", [{ id: 1, error: null }]), "Retry: 1 of 1 done");
});

test("the list is used by keyboard", async () => {
  const page = await openPage(browser, `${service.base}/#/`);
  await page.locator("tbody tr[data-id]").first().waitFor();
  const ids = await shown(page).evaluateAll((all) => all.slice(0, 3).map((tr) => tr.dataset.id));
  for (const key of ["j", "j", "j", "k"]) await page.keyboard.press(key);
  assert.equal(await page.evaluate(() => document.activeElement.closest("tr").dataset.id), ids[1]);
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("next, previous experiment").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("j?");
  assert.equal(await page.getByLabel("Search").inputValue(), "j?");
  await page.getByLabel("Search").fill("");
  await page.locator(`tr[data-id="${ids[1]}"]`).waitFor();
  await page.locator(`tr[data-id="${ids[1]}"] td.name a`).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`#/experiments/${ids[1]}$`));
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
