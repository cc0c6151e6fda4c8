// service: a daemon in a folder of its own, and a browser, for the tests of the page.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "../../web/node_modules/playwright-core/index.mjs";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

export class Service {
  static async prepare() {
    const s = new Service();
    s.folder = mkdtempSync(join(tmpdir(), "spiked-page-"));
    mkdirSync(join(s.folder, "data"));
    s.port = await freePort();
    s.base = `http://127.0.0.1:${s.port}`;
    return s;
  }

  static async start(...extra) {
    const s = await Service.prepare();
    s.extra = extra;
    await s.run();
    return s;
  }

  /** On all addresses; base is that of `address`. */
  static async startHttps(address, cert, key) {
    const s = await Service.prepare();
    s.base = `https://${address}:${s.port}`;
    s.extra = ["--listen", `0.0.0.0:${s.port}`, "--hosts", address, "--tls-cert", cert, "--tls-key", key];
    await s.run();
    return s;
  }

  async run() {
    this.child = spawn("build/spiked", ["serve", "--listen", `127.0.0.1:${this.port}`, "--state-dir", join(this.folder, "state"),
      "--data-dir", join(this.folder, "data"), "--workers", "stop", ...this.extra], { stdio: "ignore" });
    this.ended = new Promise((done) => this.child.once("exit", done));
    for (let i = 0; i < 200; i++) {
      try {
        if ((await fetch(`${this.base}/readyz`)).ok) return;
      } catch { /* not yet */ }
      await pause(50);
    }
    throw new Error("the daemon is not ready");
  }

  async stop() {
    this.child.kill("SIGTERM");
    await this.ended;
  }

  async end() {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async submit(spec) {
    const answer = await fetch(`${this.base}/api/v1/experiments`, { method: "POST", body: JSON.stringify(spec) });
    if (answer.status !== 201) throw new Error(await answer.text());
    return (await answer.json()).id;
  }

  async state(id) {
    return (await (await fetch(`${this.base}/api/v1/experiments/${id}`)).json()).state;
  }
}

/** A small network on the built-in data; about `epochs` seconds. */
export function smallSpec(epochs, more = {}) {
  return {
    version: 1, name: "page test", time_steps: 4,
    dataset: { name: "glyphs", train_limit: 640, test_limit: 100 },
    network: { layers: [
      { type: "conv2d", out_channels: 16, kernel_size: 3, bias: false }, { type: "batch_norm" },
      { type: "neuron", model: "plif" }, { type: "max_pool2d", kernel_size: 2 }, { type: "flatten" },
      { type: "linear", out_features: 32 }, { type: "neuron", model: "psn" }, { type: "linear", out_features: 10 }] },
    train: { epochs, batch_size: 16, loss: { type: "cross_entropy" } },
    monitors: [{ type: "firing_rate", every_steps: 5 }, { type: "raster" }, { type: "psn_weight" },
      { type: "membrane_potential" }, { type: "time_constant" }],
    resources: { threads: 1 },
    ...more,
  };
}

export async function openBrowser(...args) {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
}

/** A page that remembers what went wrong in it. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(e.message));
  page.on("console", (m) => { if (m.type() === "error") page.faults.push(m.text()); });
  await page.goto(url);
  return page;
}
