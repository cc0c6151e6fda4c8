// list_filter: what is typed above the list, in the words of the API: `state:running,queued user:ada tag:demo sweep:3 any text`.

const FIELDS = ["state", "user", "tag", "sweep"];

/** {state, user, tag, sweep, q}: only what is asked for. */
export function parseFilter(text) {
  const filter = {};
  const rest = [];
  for (const word of text.trim().split(/\s+/)) {
    const at = word.indexOf(":");
    const field = word.slice(0, at);
    if (at > 0 && FIELDS.includes(field) && at + 1 < word.length) filter[field] = word.slice(at + 1);
    else if (word) rest.push(word);
  }
  if (rest.length) filter.q = rest.join(" ");
  return filter;
}

export function filterText(filter) {
  return [...FIELDS.filter((f) => filter[f]).map((f) => `${f}:${filter[f]}`), filter.q].filter(Boolean).join(" ");
}

/** Whether the daemon would list it: the same rule, for what arrives by events. */
export function fits(filter, x) {
  const words = [x.name, x.dataset, x.user].map((w) => w.toLowerCase());
  return (!filter.state || filter.state.split(",").includes(x.state)) && (!filter.user || filter.user === x.user)
    && (!filter.tag || x.tags.includes(filter.tag)) && (!filter.sweep || String(x.sweep) === filter.sweep)
    && (!filter.q || words.some((w) => w.includes(filter.q.toLowerCase())));
}
