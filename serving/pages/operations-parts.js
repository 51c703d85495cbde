"use strict";
// Formatting of numbers, DOM elements and small charts. Text is only inserted as text nodes.
const NONE = "–", LEFT = new Set(["segment", "difference", "change", "signal", "state", "largest changes", "cycle", "began because", "comparison", "outcome"]);
const missing = value => value === null || value === undefined || Number.isNaN(value);
const number = (value, digits = 3) => missing(value) ? NONE : Number(value).toLocaleString("en", {maximumFractionDigits: digits});
const fixed = (value, digits) => missing(value) ? NONE : Number(value).toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const percent = value => missing(value) ? NONE : `${number(100 * value, Math.abs(value) < 0.1 ? 1 : 0)}%`;
const signed = (value, digits) => missing(value) ? NONE : (value < 0 ? "−" : "+") + fixed(Math.abs(value), digits);
const clock = at => missing(at) ? NONE : new Date(at * 1000).toLocaleTimeString([], {hour12: false});
const day = at => missing(at) ? NONE : new Date(at * 1000).toLocaleString([], {dateStyle: "medium", timeStyle: "short"});

function node(name, attributes, ...children) {
  const made = name.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) if (value !== null) made.setAttribute(key, value);
  for (const child of children.flat(Infinity)) made.append(child instanceof Node ? child : missing(child) ? NONE : String(child));
  return made;
}

function table(caption, heads, rows) {
  const cell = value => value instanceof Element && value.tagName === "TD" ? value : node("td", {}, value);
  return node("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": caption}, node("table", {},
    node("thead", {}, node("tr", {}, heads.map(head => node("th", {scope: "col", class: LEFT.has(head) ? "left" : null}, head)))),
    node("tbody", {}, rows.map(row => node("tr", {}, row.map(cell))))));
}

const opened = new Set();  // sections that stay open when the page is redrawn
function details(key, summary, ...content) {
  const made = node("details", {open: opened.has(key) ? "" : null}, node("summary", {}, summary), content);
  made.addEventListener("toggle", () => made.open ? opened.add(key) : opened.delete(key));
  return made;
}

function curve(name, values, most, limit = null) {
  // `values`, oldest first; the newest is at the right edge of `most` positions.
  const known = values.filter(value => !missing(value));
  const top = Math.max(1e-9, limit === null ? 0 : limit * 1.1, ...known);
  const y = value => 39 - 36 * value / top;
  const points = values.map((value, place) => [100 - 100 * (values.length - 1 - place) / (most - 1), value])
    .filter(([, value]) => !missing(value)).map(([x, value]) => `${x.toFixed(2)},${y(value).toFixed(2)}`);
  const drawn = node("svg:svg", {viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": name});
  if (points.length > 1) drawn.append(
    node("svg:polygon", {class: "under", points: `${points[0].split(",")[0]},40 ${points.join(" ")} 100,40`}),
    node("svg:polyline", {class: "curve", points: points.join(" ")}));
  if (limit !== null) drawn.append(node("svg:line", {class: "limit", x1: 0, x2: 100, y1: y(limit), y2: y(limit)}));
  return drawn;
}

function tile(name, value, unit, drawing = null, tone = "") {
  return node("div", {class: "tile"}, node("span", {class: "soft"}, name),
    node("b", {class: value === NONE ? "soft" : tone}, value, " ", node("small", {}, unit)), drawing === null ? [] : drawing);
}

function put(id, ...children) {
  // Replaces only what has changed, and keeps scroll positions.
  const place = document.getElementById(id), wanted = node("div", {}, ...children);
  if (place.innerHTML === wanted.innerHTML) return;
  const at = [...place.querySelectorAll(".scroll, .log")].map(box => [box.scrollLeft, box.scrollTop]);
  place.replaceChildren(...wanted.childNodes);
  [...place.querySelectorAll(".scroll, .log")].forEach((box, row) => { if (at[row]) [box.scrollLeft, box.scrollTop] = at[row]; });
}
