/* Draws the answer of a tile into an element: a chart, a table, a number, or why there is none. */

import { ABSENT, formatNumber, formatValue, titleOf } from "./format.js";
import { chartConfig } from "./theme.js";

const ICONS = document.querySelector("svg.icon use")?.getAttribute("href")?.split("#")[0] || "";
const TABLE_ROWS = 200;
const NAMES = { line: "Line chart", area: "Area chart", bar: "Bar chart", point: "Scatter plot", rect: "Heat map" };
let script = null;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function icon(name) {
  return drawing("svg", { class: "icon", "aria-hidden": "true" }, drawing("use", { href: `${ICONS}#${name}` }));
}

function loadScript(address) {
  script ??= import(address).catch((error) => { script = null; throw error; });
  return script;
}

/* Draws and returns what ends the drawing, so that charts give back what they hold. */
export async function draw(body, answer, { scriptAddress, label }) {
  if (answer.state !== "ok") { body.replaceChildren(state(answer)); return null; }
  if (answer.tile.kind !== "number" && answer.rows.length === 0) { body.replaceChildren(empty(answer)); return null; }
  if (answer.tile.kind === "number") { body.replaceChildren(...number(answer), ...remarks(answer)); return null; }
  if (answer.tile.kind === "table") { body.replaceChildren(table(answer, label, answer.rows.length), ...remarks(answer)); return null; }
  await loadScript(scriptAddress);
  return chart(body, answer, label);
}

export function state({ state: kind, problem, hint }) {
  const picture = { forbidden: "lock", away: "clock" }[kind] || "alert";
  return element("div", { class: `tile-state ${kind}`, role: "status" }, icon(picture), element("strong", {}, problem || "No answer."), hint ? element("span", {}, hint) : null);
}

function empty(answer) {
  const policy = answer.notes.length > 0;
  return element("div", { class: "tile-state", role: "status" }, icon("search"), element("strong", {}, "No rows."), element("span", {}, policy ? answer.notes[0] : "Nothing matches the filters."));
}

/* What policies decide is said once for the whole page; here is what is about this tile alone. */
function remarks(answer) {
  const said = [];
  if (answer.cut) said.push(`The first ${answer.rows.length.toLocaleString("en")} of ${answer.total.toLocaleString("en")} rows.`);
  return said.length ? [element("p", { class: "remark" }, said.join(" "))] : [];
}

export function table(answer, label, most) {
  const { columns, rows, tile } = answer;
  const numeric = (column) => ({ quantitative: "number", temporal: "temporal" })[column.kind] || null;
  const head = columns.map((column) => element("th", { scope: "col", class: numeric(column) }, titleOf(column.name, tile.titles)));
  const lines = rows.slice(0, most).map((row) => element("tr", {}, ...row.map((value, at) => element("td", { class: numeric(columns[at]) }, formatValue(value, columns[at], tile.formats)))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, table` },
    element("table", {}, element("caption", { class: "visually-hidden" }, label), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines)));
}

function number({ tile, columns, rows }) {
  const at = columns.findIndex((column) => column.name === tile.value);
  const row = rows[tile.row === "last" ? rows.length - 1 : 0];
  const value = row && at >= 0 ? row[at] : null;
  const form = (tile.formats || {})[tile.value] || "";
  const parts = [element("p", { class: "big" }, formatNumber(value, form), tile.unit ? element("small", {}, tile.unit) : null)];
  const compared = compare(tile, columns, row, value, form);
  if (compared) parts.push(compared);
  if (tile.sparkline && at >= 0) parts.push(...trend(rows.map((line) => line[at]), form));
  return parts;
}

function compare(tile, columns, row, value, form) {
  if (tile.compare === null || !row || typeof value !== "number") return null;
  const at = columns.findIndex((column) => column.name === tile.compare);
  const other = typeof tile.compare === "number" ? tile.compare : at >= 0 ? row[at] : null;
  if (typeof other !== "number") return null;
  const change = other === 0 ? null : (value - other) / Math.abs(other);
  const rises = value > other, falls = value < other;
  const good = tile.better === "neither" || !(rises || falls) ? "" : (tile.better === "higher") === rises ? " good" : " bad";
  const sign = rises ? "▲" : falls ? "▼" : "=";
  const said = change === null ? "" : `${formatNumber(Math.abs(change), ".1%")} `;
  const against = tile.compare_label || `${formatNumber(other, form)} before`;
  return element("p", { class: `delta${good}` }, element("span", { "aria-hidden": "true" }, `${sign} `), element("span", { class: "visually-hidden" }, rises ? "up " : falls ? "down " : "unchanged "), `${said}vs ${against}`);
}

function trend(values, form) {
  const points = values.filter((value) => typeof value === "number");
  if (points.length < 2) return [];
  const low = Math.min(...points), spread = Math.max(...points) - low || 1, step = 100 / (points.length - 1);
  const line = points.map((value, at) => `${(at * step).toFixed(2)},${(30 - ((value - low) / spread) * 26 - 2).toFixed(2)}`);
  const label = `Trend of ${points.length} values from ${formatNumber(points[0], form)} to ${formatNumber(points.at(-1), form)}`;
  return [drawing("svg", { class: "trend", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label },
    drawing("polygon", { points: `0,30 ${line.join(" ")} 100,30` }), drawing("polyline", { points: line.join(" ") }))];
}

async function chart(body, answer, label) {
  const area = element("div", { class: "chart-area" });
  const details = element("details", { class: "rows" }, element("summary", {}, `Show the ${answer.rows.length.toLocaleString("en")} row${answer.rows.length === 1 ? "" : "s"}`));
  details.addEventListener("toggle", () => {
    details.querySelector(".scroll")?.remove();
    if (details.open) details.append(table(answer, label, TABLE_ROWS));
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { details.open = false; details.querySelector("summary").focus(); }
  });
  body.replaceChildren(area, ...remarks(answer), details);
  const values = answer.rows.map((row) => Object.fromEntries(answer.columns.map((column, at) => [column.name, row[at]])));
  const spec = { ...answer.view, data: { name: "rows", values }, width: "container", height: "container", autosize: { type: "fit", contains: "padding" } };
  // No expression is evaluated as code ("ast"), nothing is loaded, nothing is styled inline: the page's policy forbids it.
  const options = { ast: true, actions: false, renderer: "canvas", defaultStyle: false, config: chartConfig(), tooltip: showTooltip, loader: { load: refuse, sanitize: refuse } };
  const made = await window.vegaEmbed(area, spec, options);
  area.setAttribute("role", "img");
  area.setAttribute("aria-label", describe(answer, label));
  for (const child of area.querySelectorAll("[role], [aria-label]")) { child.removeAttribute("role"); child.removeAttribute("aria-label"); child.removeAttribute("aria-roledescription"); }
  return () => { hideTooltip(); made.finalize(); };
}

function refuse() {
  return Promise.reject(new Error("charts load nothing"));
}

function describe({ view, rows, columns, tile }, label) {
  const mark = view.mark?.type || view.mark;
  const parts = [`${label}. ${NAMES[mark] || "Chart"} of ${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"}.`];
  columns.forEach((column, at) => {
    if (parts.length > 4) return;
    const values = rows.map((row) => row[at]).filter((value) => value !== null && value !== undefined);
    if (!values.length) return;
    const name = titleOf(column.name, tile.titles), said = (value) => formatValue(value, column, tile.formats);
    if (column.kind === "nominal") {
      const kinds = new Set(values).size;
      parts.push(`${name}: ${kinds} value${kinds === 1 ? "" : "s"}.`);
    } else {
      const [low, high] = values.reduce(([least, most], value) => [value < least ? value : least, value > most ? value : most], [values[0], values[0]]);
      parts.push(`${name} from ${said(low)} to ${said(high)}.`);
    }
  });
  return parts.join(" ");
}

function showTooltip(_handler, event, _item, value) {
  if (value === null || value === undefined || value === "") { hideTooltip(); return; }
  let box = document.getElementById("vg-tooltip-element");
  if (!box) { box = element("div", { id: "vg-tooltip-element", "aria-hidden": "true" }); document.body.append(box); }
  const list = typeof value === "object" ? Object.entries(value) : [["", String(value)]];
  box.replaceChildren(element("dl", {}, ...list.flatMap(([name, said]) => [element("dt", {}, name), element("dd", {}, said === null ? ABSENT : String(said))])));
  box.classList.add("visible");
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.min(event.clientX + 12, innerWidth - width - 8)}px`;
  box.style.top = `${event.clientY + height + 20 > innerHeight ? event.clientY - height - 8 : event.clientY + 14}px`;
}

function hideTooltip() {
  document.getElementById("vg-tooltip-element")?.classList.remove("visible");
}
