// api: the public HTTP API, the same that curl uses. Problems become exceptions that carry every fault.

const BASE = "/api/v1";

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.faults = body.errors || [];
  }
}

async function send(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(BASE + path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body,
    });
  } catch {
    throw new Problem(0, { detail: "the daemon does not answer" });
  }
  if (!answer.ok) {
    let problem = {};
    try { problem = await answer.json(); } catch { /* not JSON: the status says it */ }
    throw new Problem(answer.status, problem);
  }
  return answer;
}

/** {data, eventId}: subscribe from eventId to miss nothing. */
export async function read(path) {
  const answer = await send("GET", path);
  return { data: await answer.json(), eventId: answer.headers.get("X-Event-Id") };
}

export async function readText(path) {
  const answer = await send("GET", path);
  return { text: await answer.text(), next: Number(answer.headers.get("X-Next-Offset")) };
}

export const submit = async (text) => (await send("POST", "/experiments", text)).json();
export const dryRun = async (text) => (await send("POST", "/experiments?dry_run=true", text)).json();
export const act = async (id, action) => (await send("POST", `/experiments/${id}/${action}`, "{}")).json();
export const batch = async (op, ids) => (await send("POST", "/experiments/batch", JSON.stringify({ op, ids }))).json();
export const remove = (id) => send("DELETE", `/experiments/${id}`);

/** A path segment, and a series name that may hold slashes. */
export const segment = encodeURIComponent;
export const seriesPath = (name) => name.split("/").map(encodeURIComponent).join("/");
export const artifactUrl = (id, path) => `${BASE}/experiments/${id}/artifacts/${segment(path)}`;
