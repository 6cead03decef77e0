// All pools: what to look for, and a section for each.

import { html, useRef, useState } from "./vendor/htm-preact.js";
import { add } from "./actions.js";
import { FILTERS, inOrderOf, isInTrouble, openedByTier, ORDERS, rowsOf } from "./backends.js";
import { count, plural } from "./format.js";
import { keyOf } from "./history.js";
import { state } from "./store.js";
import { Rows } from "./rows.js";
import { useOnScreen } from "./window.js";

const MOST_POOLS = 100;
const MOST_OPEN_POOLS = 8;

/** The section with all pools. */
export function Pools() {
  const [view, setView] = useState({ search: "", filter: "all", order: "config" });
  const found = state.pools
    .map((pool) => ({ pool, rows: rowsOf(pool, view, state) }))
    .filter((each) => isShown(each, view));
  const backends = found.reduce((sum, each) => sum + each.rows.length, 0);
  return html`<section id="pools" aria-labelledby="pools-heading">
    <h2 id="pools-heading">Pools and backends</h2>
    <${Toolbar} view=${view} setView=${setView}
      told=${`${plural(backends, "backend")} in ${plural(found.length, "pool")}`} />
    ${found.slice(0, MOST_POOLS).map(({ pool, rows }) => html`<${Pool} key=${pool.name} pool=${pool}
      rows=${rows} view=${view} />`)}
    ${found.length > MOST_POOLS && html`<p class="hint">
      ${found.length - MOST_POOLS} more pools: search for those you mean.</p>`}
    ${found.length === 0 && state.pools.length > 0 && html`<p>Nothing is like that.</p>`}
  </section>`;
}

function isShown({ rows }, view) {
  return rows.length > 0 || (view.search === "" && view.filter === "all");
}

function Toolbar({ view, setView, told }) {
  const set = (name) => (event) => setView({ ...view, [name]: event.target.value });
  return html`<form class="toolbar" role="search" aria-label="Backends"
    onSubmit=${(event) => event.preventDefault()}>
    <label>Search <input type="search" value=${view.search} onInput=${set("search")}
      placeholder="pool, name or address" spellcheck=${false} /></label>
    <${Choice} label="Show" value=${view.filter} options=${FILTERS} onChange=${set("filter")} />
    <${Choice} label="Order" value=${view.order} options=${ORDERS} onChange=${set("order")} />
    <output class="hint">${told}</output>
  </form>`;
}

function Choice({ label, value, options, onChange }) {
  return html`<label>${label} <select value=${value} onChange=${onChange}>
    ${Object.entries(options).map(([name, { text }]) => html`<option value=${name}
      selected=${name === value}>${text}</option>`)}
  </select></label>`;
}

function Pool({ pool, rows, view }) {
  const asked = view.search !== "" || view.filter !== "all";
  const [open, setOpen] = useState(null);
  const isOpen = open ?? (asked || state.pools.length <= MOST_OPEN_POOLS || pool.backends.some(isInTrouble));
  const body = `pool-${pool.name}`;
  return html`<article class="pool" aria-label=${`Pool ${pool.name}`}>
    <header>
      <h3><button class="disclose" aria-expanded=${String(isOpen)} aria-controls=${body}
        onClick=${() => setOpen(!isOpen)}>${pool.name}</button></h3>
      <${Facts} pool=${pool} />
      <button class="small" onClick=${() => add(pool)}
        aria-label=${`Add a backend to ${pool.name}`}>Add…</button>
    </header>
    <div id=${body}>${isOpen && html`<${Members} pool=${pool} rows=${rows} view=${view} />`}</div>
  </article>`;
}

function Facts({ pool }) {
  const all = pool.backends.length;
  return html`<p class="facts">
    <span>${pool.strategy}</span>
    <span class=${pool.usable === all ? "good" : pool.usable === 0 ? "bad" : "warn"}>
      ${count(pool.usable)} of ${count(all)} usable</span>
    <span>${count(openIn(pool))} open</span>
    <span class=${pool.waiting > 0 ? "warn" : ""}>${count(pool.waiting)} waiting</span>
    ${pool.keyed && html`<span title="Two balancers with the same one agree on every key">placement <code>
      ${pool.fingerprint}</code></span>`}
  </p>`;
}

function openIn(pool) {
  return pool.backends.reduce(
    (sum, each) => sum + (state.figures.get(keyOf(each.pool, each.name)) ?? each).active,
    0,
  );
}

/** The backends of a pool. Off the screen only what is news is drawn, and not each second's figures. */
function Members({ pool, rows, view }) {
  const element = useRef(null);
  const drawn = useRef({});
  const seen = useOnScreen(element);
  const ordered = useCalmOrder(element, rows, view);
  if (seen || drawn.current.pool !== pool || drawn.current.view !== view) {
    const opened = openedByTier(pool, state.history);
    drawn.current = { pool, view, table: html`<${Rows} pool=${pool} rows=${ordered} opened=${opened} />` };
  }
  return html`<div ref=${element}>${drawn.current.table}</div>`;
}

/** Rows must not jump away under a pointer or the focus: the order stays while either is there. */
function useCalmOrder(element, rows, view) {
  const held = useRef({ view, names: [] });
  const isUsed = element.current?.matches(":hover, :focus-within");
  if (isUsed && held.current.view === view) return inOrderOf(held.current.names, rows);
  held.current = { view, names: rows.map((row) => row.backend.name) };
  return rows;
}
