// dom: elements without a framework. Text only ever goes in as text nodes, so nothing a user typed can
// become markup.

/** h("a", {href, class, onclick, dataset: {}}, children...) */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

export function replace(node, ...children) {
  node.textContent = "";
  append(node, children);
}

/** Text of an element, touched only when it changes: a screen reader is not told twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A note that goes away by itself. */
export function notify(text, kind = "error") {
  const note = h("div", { class: `note ${kind}` }, text,
    h("button", { class: "plain", "aria-label": "Close", onclick: () => note.remove() }, "×"));
  document.getElementById("notes").append(note);
  setTimeout(() => note.remove(), kind === "error" ? 15000 : 5000);
}

/** The colours of the present theme, for canvases. */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
