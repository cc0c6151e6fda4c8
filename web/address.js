// address: the part of the address behind #: a path of segments, and a query like that of a URL.

const split = () => {
  const text = location.hash.replace(/^#\/?/, "");
  const at = text.indexOf("?");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
};

/** ["experiments", "12", "log"] */
export const hashPath = () => split()[0].split("/").map(decodeURIComponent);
export const hashQuery = () => new URLSearchParams(split()[1]);

/** Replaces fields of the query ("" removes one) without opening the page anew. */
export function setHashQuery(fields) {
  const [path, text] = split();
  const query = new URLSearchParams(text);
  for (const [name, value] of Object.entries(fields)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const tail = query.toString();
  history.replaceState(null, "", `#/${path}${tail ? `?${tail}` : ""}`);
}
