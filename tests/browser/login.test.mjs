// The page for those who are not let in, in a real browser: over https a token opens the dashboard.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Service, openBrowser } from "./service.mjs";

const address = Object.values(networkInterfaces()).flat().find((i) => i.family === "IPv4" && !i.internal)?.address;

function makeToken(service, role) {
  return execFileSync("build/spiked", ["token", "create", "--socket", join(service.folder, "state/api.sock"), "--user", "ada",
    "--role", role], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
}

function makeCertificate(folder) {
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
    "/CN=own", "-addext", `subjectAltName=IP:${address}`, "-keyout", join(folder, "own.key"), "-out", join(folder, "own.pem")],
  { stdio: "ignore" });
}

test("a person at another address logs in with a token", { skip: address ? false : "no address but loopback" }, async () => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // of the fixture's wait for /readyz alone
  const folder = mkdtempSync(join(tmpdir(), "spiked-login-"));
  makeCertificate(folder);
  const service = await Service.startHttps(address, join(folder, "own.pem"), join(folder, "own.key"));
  const browser = await openBrowser("--ignore-certificate-errors");
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(`${service.base}/`);
  await page.fill("#token", "spk_wrong");
  await page.click("#login button");
  await page.locator("#fault:has-text('not known')").waitFor();
  await page.fill("#token", makeToken(service, "viewer"));
  await page.click("#login button");
  await page.locator("[data-nav=list]").waitFor();
  const me = await page.evaluate(async () => (await fetch("/api/v1/me")).json());
  assert.deepEqual([me.user, me.role, me.via, me.by], ["ada", "viewer", "network", "session"]);
  assert.equal(await page.evaluate(() => document.cookie), "", "a script can read the cookie");
  const cookie = (await page.context().cookies()).find((c) => c.name === "__Host-spiked");
  assert.deepEqual([cookie.secure, cookie.httpOnly, cookie.sameSite, cookie.path], [true, true, "Strict", "/"]);
  const out = await page.evaluate(async () => (await fetch("/api/v1/sessions", { method: "DELETE" })).status);
  assert.equal(out, 204);
  await page.reload();
  await page.locator("#login").waitFor();
  await browser.close();
  await service.end();
  rmSync(folder, { recursive: true, force: true });
});
