/* Builds a dashboard: its spec is the one truth, everything on the page is drawn from it and sent with the form. */

import { draw, element, icon } from "./draw.js";
import { Editor } from "./editor.js";
import { FilterDialog } from "./filters.js";
import { nameFrom } from "./suggest.js";
import { onThemeChange } from "./theme.js";

const COLUMNS = 12, ROWS = 12;
const STEPS = [["earlier", "left", "Move earlier"], ["later", "right", "Move later"]];

class Builder {
  constructor(form) {
    this.form = form;
    this.spec = { filters: [], tiles: [], ...JSON.parse(form.dataset.boardSpec) };
    this.catalog = JSON.parse(form.dataset.boardCatalog);
    this.finishers = new Map();
    this.answers = new Map();
    const find = (name) => form.querySelector(`[data-${name}]`);
    Object.assign(this, { board: find("tiles"), none: find("no-tiles"), filters: find("filters"), said: find("said"), name: find("name") });
    this.editor = new Editor(this, document.getElementById("tile-dialog"));
    this.filterDialog = new FilterDialog(this, document.getElementById("filter-dialog"));
    const ready = (button, open) => { button.addEventListener("click", open); button.disabled = false; };
    ready(find("add-tile"), () => this.editor.open(null));
    ready(find("add-filter"), () => this.filterDialog.open(null));
    this.isNamed = Boolean(this.name?.value);
    for (const input of form.querySelectorAll("[data-about]")) this.about(input);
    this.name?.addEventListener("input", () => { this.isNamed = true; });
    form.addEventListener("submit", () => { find("spec").value = JSON.stringify(this.spec); this.isSaved = true; });
    addEventListener("beforeunload", (event) => { if (this.isChanged && !this.isSaved) event.preventDefault(); });
    onThemeChange(() => this.draw());
    this.draw();
  }

  about(input) {
    const member = input.dataset.about;
    const take = () => {
      this.isChanged = true;
      if (member === "refresh_seconds") this.spec[member] = Number(input.value) || null;
      else this.spec[member] = input.value;
      if (member === "title" && this.name && !this.isNamed) this.name.value = nameFrom(input.value);
    };
    input.addEventListener("input", take);
    // The page sends text fields empty: what stands there was typed before this script came.
    if (input.matches("input") && input.value) take();
    else input.value = this.spec[member] ?? (member === "refresh_seconds" ? "0" : "");
  }

  /* What a tile would show: asked from the server, as the reader. */
  async ask(tile) {
    const token = this.form.querySelector("[name=csrfmiddlewaretoken]").value;
    const body = JSON.stringify({ filters: this.spec.filters, tile });
    try {
      const reply = await fetch(this.form.dataset.preview, { method: "POST", body, credentials: "same-origin", headers: { "Content-Type": "application/json", "X-CSRFToken": token } });
      return await reply.json();
    } catch (error) {
      return { state: "away", problem: "The preview cannot be loaded.", hint: `${error.message}.` };
    }
  }

  async show(body, tile, answer, label) {
    if (answer.words !== undefined) {
      body.classList.add("prose");
      body.innerHTML = answer.words;
      return null;
    }
    body.classList.remove("prose");
    try {
      return await draw(body, answer, { scriptAddress: this.form.dataset.script, label });
    } catch (error) {
      return draw(body, { state: "error", problem: "The chart cannot be drawn.", hint: error.message }, {});
    }
  }

  change(words) {
    this.isChanged = true;
    this.said.textContent = words;
    this.draw();
  }

  draw() {
    for (const finish of this.finishers.values()) finish?.();
    this.finishers.clear();
    this.none.hidden = this.spec.tiles.length > 0;
    this.drawFilters();
    this.board.replaceChildren(...this.spec.tiles.map((tile, at) => this.tile(tile, at)));
  }

  drawFilters() {
    if (!this.spec.filters.length) {
      this.filters.replaceChildren(element("p", { class: "muted" }, "None yet. A filter becomes a parameter of every tile that follows it."));
      return;
    }
    const items = this.spec.filters.map((item) => {
      const label = item.label || item.name;
      const edit = element("button", { type: "button", class: "ghost", "aria-label": `Edit filter ${label}` }, "Edit");
      const remove = element("button", { type: "button", class: "ghost square", "aria-label": `Remove filter ${label}` }, icon("x"));
      edit.addEventListener("click", () => this.filterDialog.open(item));
      remove.addEventListener("click", () => this.removeFilter(item));
      return element("li", {}, element("span", {}, label), element("span", { class: "muted" }, ` ${item.default ?? "nothing chosen"}`), edit, remove);
    });
    this.filters.replaceChildren(element("ul", { class: "filter-list" }, ...items));
  }

  removeFilter(item) {
    this.spec.filters = this.spec.filters.filter((other) => other !== item);
    for (const tile of this.spec.tiles) {
      for (const [name, value] of Object.entries(tile.parameters || {})) {
        if (value && typeof value === "object" && String(value.filter).split(".")[0] === item.name) delete tile.parameters[name];
      }
    }
    this.change(`Filter ${item.label || item.name} is removed.`);
    this.form.querySelector("[data-add-filter]").focus();
  }

  tile(tile, at) {
    const label = tile.title || tile.name;
    const body = element("div", { class: "tile-body" }, element("span", { class: "skeleton", "aria-hidden": "true" }));
    const node = element("article", { class: `card board-tile w-${tile.width || 6} h-${tile.height || 4} kind-${tile.kind}`, "aria-label": label, draggable: "true" },
      element("header", {}, element("h2", {}, label)), body, this.handles(tile, at, label));
    this.drag(node, at);
    this.fill(tile, body, label);
    return node;
  }

  async fill(tile, body, label) {
    const key = JSON.stringify([tile, this.spec.filters]);
    if (!this.answers.has(key)) this.answers.set(key, this.ask(tile));
    const answer = await this.answers.get(key);
    if (answer.state !== "ok") this.answers.delete(key);
    if (body.isConnected) this.finishers.set(tile.name, await this.show(body, tile, answer, label));
  }

  handles(tile, at, label) {
    const button = (words, picture, call, disabled = false) => {
      const made = element("button", { type: "button", class: "ghost", "aria-label": `${words}: ${label}`, title: words, disabled, "data-does": words }, picture);
      made.addEventListener("click", () => { call(); this.focus(tile, words); });
      return made;
    };
    const move = STEPS.map(([, picture, words], way) => button(words, icon(picture), () => this.move(at, at + (way ? 1 : -1)), way ? at === this.spec.tiles.length - 1 : at === 0));
    const size = (member, by, usual, most, words, sign) => {
      const value = tile[member] || usual;
      return button(words, sign, () => { tile[member] = value + by; this.change(`${label} is ${tile[member]} ${member === "width" ? "columns wide" : "rows high"}.`); }, value + by < 1 || value + by > most);
    };
    const edit = element("button", { type: "button", class: "ghost", "aria-label": `Edit: ${label}`, "data-does": "Edit" }, "Edit");
    edit.addEventListener("click", () => this.editor.open(tile));
    const remove = button("Remove", icon("x"), () => { this.spec.tiles.splice(at, 1); this.change(`${label} is removed.`); });
    return element("div", { class: "handles", role: "group", "aria-label": `Arrange ${label}` }, ...move,
      size("width", -1, 6, COLUMNS, "Narrower", "− width"), size("width", 1, 6, COLUMNS, "Wider", "+ width"),
      size("height", -1, 4, ROWS, "Lower", "− height"), size("height", 1, 4, ROWS, "Higher", "+ height"),
      element("span", { class: "spacer" }), edit, remove);
  }

  /* After a step the same handle of the same tile has the focus, wherever it went; of one that is gone, the way on. */
  focus(tile, words) {
    const node = this.board.children[this.spec.tiles.indexOf(tile)];
    const handle = node?.querySelector(`[data-does="${words}"]:not(:disabled)`) || node?.querySelector(".handles button:not(:disabled)");
    (handle || this.form.querySelector("[data-add-tile]")).focus();
  }

  move(from, to) {
    const [tile] = this.spec.tiles.splice(from, 1);
    this.spec.tiles.splice(to, 0, tile);
    this.change(`${tile.title || tile.name} is at place ${to + 1} of ${this.spec.tiles.length}.`);
  }

  drag(node, at) {
    node.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/plain", String(at));
      node.classList.add("dragged");
    });
    node.addEventListener("dragend", () => node.classList.remove("dragged"));
    node.addEventListener("dragover", (event) => { event.preventDefault(); node.classList.add("target"); });
    node.addEventListener("dragleave", () => node.classList.remove("target"));
    node.addEventListener("drop", (event) => {
      event.preventDefault();
      const from = Number(event.dataTransfer.getData("text/plain"));
      if (Number.isInteger(from) && from !== at && this.spec.tiles[from]) this.move(from, at);
    });
  }

  keep(before, tile) {
    if (before) this.spec.tiles.splice(this.spec.tiles.indexOf(before), 1, tile);
    else this.spec.tiles.push(tile);
    this.change(`${tile.title || tile.name} is ${before ? "changed" : "added"}.`);
    this.focus(tile, "Edit");
  }

  keepFilter(before, item) {
    if (before) {
      this.spec.filters.splice(this.spec.filters.indexOf(before), 1, item);
    } else {
      this.spec.filters.push(item);
    }
    this.change(`Filter ${item.label} is ${before ? "changed" : "added"}.`);
  }
}

for (const form of document.querySelectorAll("[data-builder]")) new Builder(form);
