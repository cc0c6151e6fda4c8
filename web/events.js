// events: one Server-Sent Events stream at a time. The browser reconnects by itself with the last id; when the
// server no longer has that id it says `reset` and the page reads everything again.

const NAMES = ["experiment.state", "experiment.progress", "experiment.points", "experiment.record", "experiment.profile",
  "points.cut", "experiment.deleted"];
const RETRY_MS = 2000;

/**
 * topics: "experiments,experiment:12"; from: id to continue after.
 * on: {event(name, data), reset(), link(up)}. Returns a function that closes.
 */
export function openEvents(topics, from, on) {
  let source = null;
  let timer = 0;
  let last = from;
  let closed = false;

  function connect() {
    const query = new URLSearchParams({ topics });
    if (last) query.set("last_event_id", last);
    source = new EventSource(`/api/v1/events?${query}`);
    source.addEventListener("hello", (e) => { last = e.lastEventId || last; on.link(true); });
    source.addEventListener("reset", (e) => { last = e.lastEventId || last; on.reset(); });
    source.addEventListener("bye", retry);
    for (const name of NAMES) {
      source.addEventListener(name, (e) => {
        last = e.lastEventId || last;
        on.event(name, JSON.parse(e.data));
      });
    }
    source.onerror = retry;
  }

  // Our own retry, so that the id goes along also after the browser has given up.
  function retry() {
    on.link(false);
    source.close();
    clearTimeout(timer);
    if (!closed) timer = setTimeout(connect, RETRY_MS);
  }

  connect();
  return () => {
    closed = true;
    clearTimeout(timer);
    source.close();
  };
}
