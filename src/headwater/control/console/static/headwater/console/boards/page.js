/* An open dashboard: tiles ask for their data side by side, again by the clock or live, and follow the filters. */

import { draw, state } from "./draw.js";
import { Live } from "./live.js";
import { onThemeChange } from "./theme.js";

const ZONE = /(?:Z|[+-]\d\d:?\d\d)$/;

class Tile {
  constructor(node, board) {
    Object.assign(this, { node, board, body: node.querySelector("[data-body]"), etag: "", answer: null, finish: null, turn: 0, live: null, queue: Promise.resolve() });
    this.label = node.querySelector("h2")?.textContent.trim().replace(/\s+live$/, "") || node.dataset.tile;
  }

  get isWatched() { return this.live !== null && this.live.source !== null; }

  async load({ fresh = false } = {}) {
    const turn = ++this.turn;
    if (fresh) this.etag = "";
    this.node.setAttribute("aria-busy", "true");
    const headers = { Accept: "application/json" };
    if (this.etag) headers["If-None-Match"] = this.etag;
    try {
      const reply = await fetch(`${this.node.dataset.url}?${this.board.query()}`, { headers, credentials: "same-origin" });
      if (turn !== this.turn) return;
      if (reply.status === 304) return;
      if (!reply.headers.get("Content-Type")?.startsWith("application/json")) throw new Error("you may have been signed out; load the page again");
      this.etag = reply.headers.get("ETag") || "";
      await this.show(await reply.json());
    } catch (error) {
      if (turn === this.turn) await this.show({ state: "away", problem: "The tile cannot be loaded.", hint: `${error.message}.` });
    } finally {
      if (turn === this.turn) this.node.removeAttribute("aria-busy");
    }
  }

  /* One drawing after another: a chart that is drawn while another ends would stay in the page. */
  show(answer) {
    this.answer = answer;
    this.queue = this.queue.then(async () => {
      if (answer !== this.answer) return;
      this.finish?.();
      this.finish = null;
      try {
        this.finish = await draw(this.body, answer, { scriptAddress: this.board.script, label: this.label });
      } catch (error) {
        this.body.replaceChildren(state({ state: "error", problem: "The chart cannot be drawn.", hint: error.message }));
      }
    });
    return this.queue;
  }

  watch() {
    if (!this.node.dataset.liveUrl) return;
    this.live?.end();
    this.live = new Live(() => `${this.node.dataset.liveUrl}?${this.board.query()}`, { rows: (rows) => this.take(rows), lost: (why) => this.mark(false, why) });
  }

  take(rows) {
    this.mark(true);
    if (this.answer?.state !== "ok") { this.load({ fresh: true }); return; }
    const { columns } = this.answer;
    const read = (value, column) => {
      if (column.kind === "quantitative" && typeof value === "string") return Number(value);
      return column.kind === "temporal" && typeof value === "string" ? value.replace(" ", "T").replace(ZONE, "") : value;
    };
    const most = this.answer.tile.kind === "table" ? this.answer.tile.rows : 20000;
    const lines = rows.slice(0, most).map((row) => columns.map((column) => read(row[column.name] ?? null, column)));
    this.show({ ...this.answer, rows: lines, total: rows.length, cut: rows.length > lines.length });
  }

  mark(isLive, why = "") {
    const pill = this.node.querySelector("[data-live-state]");
    pill.classList.toggle("good", isLive);
    pill.textContent = isLive ? "live" : "not live";
    pill.title = why;
  }
}

class Board {
  constructor(node) {
    this.node = node;
    this.script = node.dataset.script;
    this.filters = document.querySelector("[data-board-filters]");
    this.tiles = [...node.querySelectorAll("[data-tile]")].map((tile) => new Tile(tile, this));
    this.filters?.addEventListener("submit", (event) => { event.preventDefault(); this.choose(); });
    this.filters?.addEventListener("change", () => this.choose());
    for (const range of document.querySelectorAll("[data-range]")) readRange(range);
    const seconds = Number(node.dataset.refresh);
    if (seconds) setInterval(() => { if (!document.hidden) this.load({ all: false }); }, seconds * 1000);
    onThemeChange(() => { for (const tile of this.tiles) if (tile.answer?.tile?.kind === "chart") tile.show({ ...tile.answer }); });
    addEventListener("pagehide", () => { for (const tile of this.tiles) tile.live?.end(); });
    this.load({ all: true });
    for (const tile of this.tiles) tile.watch();
  }

  query() {
    return this.filters ? new URLSearchParams(new FormData(this.filters)).toString() : "";
  }

  choose() {
    const query = this.query();
    history.replaceState(null, "", `?${query}`);
    for (const link of document.querySelectorAll("a[data-follows-filters]")) link.search = `?${query}`;
    this.load({ all: true, fresh: true });
    for (const tile of this.tiles) tile.watch();
  }

  async load({ all, fresh = false }) {
    await Promise.all(this.tiles.filter((tile) => all || !tile.isWatched).map((tile) => tile.load({ fresh })));
    const notes = new Set(this.tiles.flatMap((tile) => tile.answer?.notes || []));
    document.querySelector("[data-board-notes]")?.replaceChildren([...notes].join(" "));
    const said = document.querySelector("[data-board-state]");
    if (said) said.textContent = `looked at ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  }
}

/* A range of time is one value, chosen by a name or between two days. */
function readRange(range) {
  const part = (name) => range.querySelector(`[data-range-${name}]`);
  const [preset, between, first, last, value] = ["preset", "between", "first", "last", "value"].map(part);
  const days = value.value.match(/^(\d{4}-\d\d-\d\d)\/(\d{4}-\d\d-\d\d)$/);
  if (days) [first.value, last.value] = [days[1], days[2]];
  range.addEventListener("change", (event) => {
    between.hidden = preset.value !== "between";
    if (preset.value !== "between") { value.value = preset.value; return; }
    if (first.value && last.value) value.value = `${first.value}/${last.value}`;
    // Half a range asks for nothing yet.
    else event.stopPropagation();
  });
}

for (const node of document.querySelectorAll("[data-board]")) new Board(node);
