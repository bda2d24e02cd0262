/* The dialog of one tile: what it shows and how, with what it would look like beside it. */

import { element, state } from "./draw.js";
import { followable, nameFrom, newFilter, suggestBinding, suggestKind, suggestPlot } from "./suggest.js";

const KINDS = [
  ["line", "Line"], ["area", "Area"], ["bar", "Bars"], ["point", "Points"], ["heatmap", "Heat map"], ["number", "Number"],
  ["table", "Table"], ["text", "Words"], ["vega", "Vega-Lite"],
];
const CHANNELS = { line: ["x", "y", "colour"], area: ["x", "y", "colour"], bar: ["x", "y", "colour"], point: ["x", "y", "colour", "size"], heatmap: ["x", "y", "colour"] };
const WORDS = { x: "Across (x)", y: "Up (y)", colour: "Colour", size: "Size" };
const SIZES = { number: [3, 2], text: [4, 3], table: [6, 5], heatmap: [6, 5] };
const FORMATS = [["", "as it is"], [",d", "1,235"], [",.1f", "1,234.6"], [".1%", "12.3%"], [".1s", "1.2k"]];
const PAUSE_MILLISECONDS = 250;

export class Editor {
  constructor(builder, dialog) {
    Object.assign(this, { builder, dialog, form: dialog.querySelector("form"), before: null, finish: null, turn: 0, timer: 0 });
    const find = (name) => dialog.querySelector(`[data-${name}]`);
    for (const [member, name] of Object.entries({ kinds: "kinds", endpoint: "endpoint", help: "endpoint-help", title: "title", text: "text", vega: "vega", mapping: "mapping", parameters: "parameters", live: "live", body: "preview-body", accept: "accept" })) this[member] = find(name);
    this.kinds.replaceChildren(...KINDS.map(([kind, words]) => element("label", {}, element("input", { type: "radio", name: "kind", value: kind }), words)));
    this.endpoint.replaceChildren(element("option", { value: "" }, "choose"), ...builder.catalog.map((item) => element("option", { value: item.name }, item.name)));
    this.kinds.addEventListener("change", () => this.choose(this.kind));
    this.endpoint.addEventListener("change", () => this.pick());
    for (const input of [this.title, this.text, this.vega]) input.addEventListener("input", () => this.later());
    this.live.addEventListener("change", () => { this.draft.live = this.live.checked; });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.keep(); });
    dialog.addEventListener("close", () => this.finish?.());
  }

  get kind() { return this.kinds.querySelector(":checked")?.value || "bar"; }

  get known() { return this.builder.catalog.find((item) => item.name === this.draft.endpoint?.split("@")[0]); }

  open(tile) {
    this.before = tile;
    this.draft = structuredClone(tile || { kind: "chart", parameters: {} });
    this.columns = [];
    this.mark(tile ? kindOf(tile) : "bar");
    this.endpoint.value = this.draft.endpoint?.split("@")[0] || "";
    this.title.value = this.draft.title || "";
    this.text.value = this.draft.text || "";
    this.vega.value = this.draft.vega ? JSON.stringify(this.draft.vega, null, 2) : "";
    this.live.checked = Boolean(this.draft.live);
    this.accept.textContent = tile ? "Keep changes" : "Add to the dashboard";
    this.dialog.showModal();
    this.arrange();
    if (tile?.endpoint) this.learn();
    else this.body.replaceChildren(state({ state: "empty", problem: "Pick an endpoint.", hint: "Its answer appears here." }));
    if (tile && tile.kind === "text") this.preview();
    (tile ? this.title : this.endpoint).focus();
  }

  mark(kind) {
    this.kinds.querySelector(`[value="${kind}"]`).checked = true;
  }

  /* Another endpoint: its columns say how it is best shown, its parameters follow the filters that fit. */
  async pick() {
    this.draft.endpoint = this.endpoint.value;
    this.draft.parameters = {};
    for (const parameter of this.known?.parameters || []) {
      const bound = suggestBinding(parameter, this.builder.spec.filters) ?? this.offered(parameter);
      if (bound !== undefined) this.draft.parameters[parameter.name] = bound;
    }
    this.columns = [];
    for (const member of ["plot", "value", "columns", "titles", "formats"]) delete this.draft[member];
    await this.learn({ fresh: true });
  }

  /* What is always needed gets a filter of its own, so that the first picture is there without a form to fill. */
  offered(parameter) {
    if (!parameter.required || parameter.list) return undefined;
    const { filter, end } = newFilter(parameter);
    const taken = this.builder.spec.filters.find((item) => item.name === filter.name);
    if (!taken && filter.default === undefined) return undefined;
    if (!taken) this.builder.keepFilter(null, filter);
    return { filter: end ? `${filter.name}.${end}` : filter.name };
  }

  /* Columns are known from the endpoint's contract, else from an answer. */
  async learn({ fresh = false } = {}) {
    const { known } = this;
    this.help.textContent = known ? known.description || (known.mayAsk ? "" : "You may see it, and not ask it.") : "";
    this.arrange();
    if (!known) return;
    this.columns = known.columns;
    if (!this.columns.length) {
      const answer = await this.builder.ask({ name: "columns", kind: "table", endpoint: this.draft.endpoint, parameters: this.draft.parameters || {}, rows: 1 });
      if (answer.state === "ok") this.columns = answer.columns;
    }
    if (fresh && this.columns.length && this.kind !== "number" && this.kind !== "vega") this.mark(suggestKind(this.columns));
    this.choose(this.kind);
  }

  choose(kind) {
    const { draft, columns } = this;
    if (CHANNELS[kind]) {
      const fits = draft.plot && columns.some((column) => column.name === draft.plot.x);
      draft.plot = fits && kind !== "heatmap" ? { ...draft.plot, mark: kind } : fits && draft.plot.colour ? { ...draft.plot, mark: kind } : suggestPlot(kind, columns);
    }
    if (kind === "number" && !columns.some((column) => column.name === draft.value)) draft.value = columns.find((column) => column.kind === "quantitative")?.name || columns[0]?.name || "";
    this.arrange();
    this.later();
  }

  arrange() {
    const kind = this.kind;
    for (const part of this.dialog.querySelectorAll("[data-for]")) {
      const wanted = part.dataset.for;
      part.hidden = wanted === "data" ? kind === "text" : wanted !== kind;
    }
    this.mapping.replaceChildren(...this.mappings(kind));
    this.parameters.replaceChildren(...this.bindings());
    this.dialog.querySelector("[data-mapping-set]").hidden = kind === "text" || kind === "vega" || !this.mapping.children.length;
    this.dialog.querySelector("[data-parameters-set]").hidden = kind === "text" || !this.parameters.children.length;
  }

  row(words, control) {
    control.id ||= `e-${nameFrom(words)}`;
    return [element("label", { for: control.id }, words), control];
  }

  select(options, value, call) {
    const made = element("select", {}, ...options.map(([one, words]) => element("option", { value: one, selected: one === value }, words)));
    made.addEventListener("change", () => { call(made.value); this.later(); });
    return made;
  }

  columnSelect(value, call, { optional = false, only = null } = {}) {
    const fitting = this.columns.filter((column) => !only || column.kind === only);
    const options = fitting.map((column) => [column.name, `${column.name} (${column.type.toLowerCase()})`]);
    if (optional) options.unshift(["", "none"]);
    return this.select(options, value || "", call);
  }

  mappings(kind) {
    const { draft, columns } = this;
    if (!columns.length) return [];
    if (CHANNELS[kind] && draft.plot) {
      const channels = CHANNELS[kind].flatMap((channel) => this.row(WORDS[channel], this.columnSelect(draft.plot[channel], (name) => {
        if (name) draft.plot[channel] = name;
        else delete draft.plot[channel];
      }, { optional: channel === "size" || (channel === "colour" && kind !== "heatmap") })));
      const measure = kind === "heatmap" ? draft.plot.colour : draft.plot.y;
      const stack = ["bar", "area"].includes(kind) && draft.plot.colour ? this.row("Several colours", this.select([["stacked", "on top of each other"], ["share", "as shares"], ["none", "behind each other"]], draft.plot.stack || "stacked", (value) => { draft.plot.stack = value; })) : [];
      return [...channels, ...stack, ...this.format(measure)];
    }
    if (kind === "number") {
      return [
        ...this.row("Value", this.columnSelect(draft.value, (name) => { draft.value = name; this.arrange(); })),
        ...this.row("Compared with", this.columnSelect(typeof draft.compare === "string" ? draft.compare : "", (name) => { draft.compare = name || null; }, { optional: true, only: "quantitative" })),
        ...this.row("Better is", this.select([["neither", "neither"], ["higher", "higher"], ["lower", "lower"]], draft.better || "neither", (value) => { draft.better = value; })),
        ...this.row("Of the rows", this.select([["first", "the first"], ["last", "the last, with a line of all"]], draft.row || "first", (value) => { draft.row = value; draft.sparkline = value === "last"; })),
        ...this.format(draft.value),
      ];
    }
    return kind === "table" ? [this.columnList()] : [];
  }

  format(column) {
    if (!column) return [];
    return this.row("Numbers look like", this.select(FORMATS, (this.draft.formats || {})[column] || "", (form) => {
      this.draft.formats = { ...this.draft.formats };
      if (form) this.draft.formats[column] = form;
      else delete this.draft.formats[column];
    }));
  }

  columnList() {
    const chosen = this.draft.columns?.length ? this.draft.columns : this.columns.map((column) => column.name);
    return element("div", { class: "columns-list both" }, ...this.columns.map((column) => {
      const box = element("input", { type: "checkbox", checked: chosen.includes(column.name), value: column.name });
      box.addEventListener("change", () => {
        const names = [...this.mapping.querySelectorAll("input:checked")].map((one) => one.value);
        this.draft.columns = names.length === this.columns.length ? [] : names;
        this.later();
      });
      return element("label", {}, box, column.name);
    }));
  }

  bindings() {
    return (this.known?.parameters || []).flatMap((parameter) => this.row(parameter.name + (parameter.required ? " *" : ""), this.binding(parameter)));
  }

  binding(parameter) {
    const { draft } = this;
    draft.parameters ||= {};
    const value = draft.parameters[parameter.name];
    const filters = followable(parameter, this.builder.spec.filters);
    const made = newFilter(parameter);
    const isOffered = !this.builder.spec.filters.some((item) => item.name === made.filter.name) && !parameter.list;
    const options = [["-", parameter.default === null || parameter.default === undefined ? "left out" : `left out (${parameter.default})`], ["=", "fixed value"], ...filters.map((item) => [item.value, item.label])];
    if (isOffered) options.push(["+", `new filter “${made.filter.label}”`]);
    const now = value === undefined ? "-" : value && typeof value === "object" && !Array.isArray(value) ? value.filter : "=";
    const choice = this.select(options, now, (chosen) => this.bind(parameter, chosen, made));
    choice.id = `e-p-${parameter.name}`;
    if (now !== "=") return choice;
    const input = element("input", { "aria-label": `Value of ${parameter.name}`, autocomplete: "off", placeholder: parameter.type });
    input.value = Array.isArray(value) ? value.join(", ") : String(value);
    input.addEventListener("input", () => { draft.parameters[parameter.name] = typed(input.value, parameter); this.later(); });
    const pair = element("div", { class: "pair" }, choice, input);
    pair.id = `e-pair-${parameter.name}`;
    return pair;
  }

  bind(parameter, chosen, made) {
    const { parameters } = this.draft;
    if (chosen === "-") delete parameters[parameter.name];
    else if (chosen === "=") parameters[parameter.name] = typed(String(parameter.default ?? parameter.values[0] ?? ""), parameter);
    else if (chosen === "+") {
      this.builder.keepFilter(null, made.filter);
      parameters[parameter.name] = { filter: made.end ? `${made.filter.name}.${made.end}` : made.filter.name };
    } else parameters[parameter.name] = { filter: chosen };
    this.arrange();
    document.getElementById(`e-p-${parameter.name}`)?.focus();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), PAUSE_MILLISECONDS);
  }

  /* The tile as it would be saved. */
  made() {
    const { draft, kind } = this;
    const others = this.builder.spec.tiles.filter((tile) => tile !== this.before).map((tile) => tile.name);
    const title = this.title.value.trim();
    const name = this.before?.name || nameFrom(title || draft.endpoint || "words", others);
    const [width, height] = SIZES[kind] || [6, 4];
    const placed = { name, title, width: draft.width || width, height: draft.height || height, ...(draft.description ? { description: draft.description } : {}) };
    if (kind === "text") return { ...placed, kind, text: this.text.value };
    const data = { ...placed, endpoint: draft.endpoint || "", parameters: draft.parameters || {}, live: this.live.checked, titles: draft.titles || {}, formats: draft.formats || {} };
    if (kind === "table") return { ...data, kind, columns: draft.columns || [], rows: draft.rows || 100 };
    if (kind === "number") {
      const { value, row = "first", compare = null, compare_label = "", better = "neither", sparkline = false, unit = "" } = draft;
      return { ...data, kind, value, row, compare, compare_label, better, sparkline, unit };
    }
    if (kind === "vega") return { ...data, kind: "chart", vega: parsed(this.vega.value) };
    const plot = Object.fromEntries(Object.entries(draft.plot || {}).filter(([member]) => member !== "size" || kind === "point"));
    return { ...data, kind: "chart", plot };
  }

  async preview() {
    const turn = ++this.turn;
    const tile = this.made();
    if (tile.kind !== "text" && !tile.endpoint) return;
    const answer = await this.builder.ask(tile);
    if (turn !== this.turn || !this.dialog.open) return;
    this.finish?.();
    this.finish = await this.builder.show(this.body, tile, answer, tile.title || tile.name);
  }

  keep() {
    const tile = this.made();
    if (tile.kind !== "text" && !tile.endpoint) { this.endpoint.focus(); return; }
    this.dialog.close();
    this.builder.keep(this.before, tile);
  }
}

function kindOf(tile) {
  return tile.kind !== "chart" ? tile.kind : tile.vega ? "vega" : tile.plot.mark;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { problem: "write JSON" };
  }
}

function typed(text, parameter) {
  if (parameter.list) return text.split(",").map((part) => part.trim()).filter(Boolean);
  if (parameter.type === "boolean") return text === "true";
  return ["integer", "number"].includes(parameter.type) && text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
