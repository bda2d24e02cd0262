/* Watches an endpoint: the rows as the data plane tells them, first all and then what changes. */

const AGAIN_MILLISECONDS = 5000;
const SLOWEST_MILLISECONDS = 60000;

/* Calls with rows by column names for every state; `lost` when there is no stream, so that the page asks by itself. */
export class Live {
  constructor(address, { rows, lost }) {
    Object.assign(this, { address, rows, lost, source: null, state: [], key: [], wait: AGAIN_MILLISECONDS, ended: false, timer: 0 });
    this.begin();
  }

  async begin() {
    if (this.ended) return;
    try {
      const reply = await fetch(this.address(), { headers: { Accept: "application/json" }, credentials: "same-origin" });
      const ticket = await reply.json();
      if (ticket.state !== "ok") { this.later(ticket.problem); return; }
      if (!this.ended) this.watch(ticket.url);
    } catch {
      this.later("The stream cannot be opened.");
    }
  }

  watch(url) {
    const source = new EventSource(url);
    this.source = source;
    const on = (name, call) => source.addEventListener(name, (event) => { if (this.source === source) call(JSON.parse(event.data)); });
    on("snapshot", (data) => { this.wait = AGAIN_MILLISECONDS; this.key = data.meta.key || []; this.state = data.data; this.tell(data.meta); });
    on("patch", (data) => { this.state = patched(this.state, data, this.key); this.tell(data.meta || {}); });
    on("problem", (data) => this.lost(data.detail || "There is no result now."));
    on("reauth", () => { source.close(); this.begin(); });
    on("gone", (data) => { source.close(); this.later(data.detail); });
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) this.later("The stream ended."); });
  }

  tell(meta) {
    this.rows(this.state, meta);
  }

  later(why) {
    this.source?.close();
    this.source = null;
    this.lost(why);
    if (this.ended) return;
    this.timer = setTimeout(() => this.begin(), this.wait);
    this.wait = Math.min(this.wait * 2, SLOWEST_MILLISECONDS);
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.source?.close();
  }
}

export function patched(rows, { upsert = [], delete: gone = [] }, key) {
  const name = (row) => JSON.stringify(key.map((column) => row[column]));
  const taken = new Set([...gone.map((identity) => JSON.stringify(identity)), ...upsert.map(({ row }) => name(row))]);
  const left = rows.filter((row) => !taken.has(name(row)));
  for (const { at, row } of upsert) left.splice(at, 0, row);
  return left;
}
