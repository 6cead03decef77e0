// The table of the backends of one pool.

import { html, useRef } from "./vendor/htm-preact.js";
import { drain, enable, setWeight } from "./actions.js";
import { condition, CONDITIONS } from "./backends.js";
import { Badge } from "./badge.js";
import { showBackend } from "./details.js";
import { Drain } from "./drain.js";
import { bytes, count, latency, rate } from "./format.js";
import { Share } from "./share.js";
import { Sparkline } from "./sparkline.js";
import { useWindow } from "./window.js";

const MOST_AT_ONCE = 30;
const COLUMNS = [
  "Backend",
  "State",
  "Open",
  "New /s",
  "Failures /s",
  "Connect",
  "Bytes /s",
  "Share",
  "Actions",
];

/** The rows; only those that are seen if they are many. `opened` is by tier, of the last minute. */
export function Rows({ pool, rows, opened }) {
  const frame = useRef(null);
  const many = rows.length > MOST_AT_ONCE;
  const { first, last, above, below } = useWindow(frame, rows.length, many);
  const seen = rows.slice(first, last);
  // What scrolls must be reached by the keyboard, and so have a name.
  const scrolling = many ? { role: "region", "aria-label": `Backends of ${pool.name}`, tabindex: 0 } : {};
  return html`<div ref=${frame} class=${many ? "frame windowed" : "frame"} ...${scrolling}>
    <table role="table" class="backends" aria-label=${`Backends of ${pool.name}`}
      aria-rowcount=${rows.length + 1}>
      <thead role="rowgroup"><tr role="row" aria-rowindex="1">
        ${COLUMNS.map((name) => html`<th role="columnheader" scope="col">${name}</th>`)}</tr></thead>
      <tbody role="rowgroup">
        <${Gap} key="above" height=${above} />
        ${seen.map((row, place) => html`<${Row} key=${row.backend.name} row=${row}
          place=${first + place + 2} pool=${pool} opened=${opened} />`)}
        <${Gap} key="below" height=${below} />
      </tbody>
    </table>
  </div>`;
}

function Gap({ height }) {
  return (
    height > 0 &&
    html`<tr role="presentation" class="gap" aria-hidden="true"><td style=${{ height: `${height}px` }}></td>
      </tr>`
  );
}

function Row({ row, place, pool, opened }) {
  const { backend, figures, series } = row;
  const limit = backend.max_connections;
  return html`<tr role="row" aria-rowindex=${place} class=${CONDITIONS[condition(backend)].tone}>
    <${Name} backend=${backend} />
    <td role="cell" class="state"><${State} row=${row} /></td>
    <td role="cell" data-label="Open" class="number">
      ${count(figures.active)}${limit > 0 && html`<small> of ${count(limit)}</small>`}</td>
    <${Figure} label="New /s" text=${rate(series?.rate.last)} series=${series?.rate} least=${4} />
    <${Figure} label="Failures /s" text=${rate(series?.errors.last)} series=${series?.errors} least=${1}
      tone="bad" />
    <${Figure} label="Connect" text=${latency(lastKnown(series?.latency))} series=${series?.latency}
      least=${0.001} />
    <td role="cell" data-label="Bytes /s" class="number">${bytes(series?.bytes.last)}</td>
    <td role="cell" class="shares"><${Shares} row=${row} pool=${pool} opened=${opened} /></td>
    <td role="cell" class="acts"><${Acts} backend=${backend} /></td>
  </tr>`;
}

function Name({ backend }) {
  return html`<th role="rowheader" scope="row">
    <button class="link" onClick=${() => showBackend(backend)} aria-label=${`Details of ${backend.name}`}>
      ${backend.name}</button>
    <small>${backend.address !== backend.name && html`<span>${backend.address}</span>`}
      ${backend.tier > 0 && html`<span class="tag">tier ${backend.tier}</span>`}
      ${backend.changes.length > 0 && html`<span class="tag"
        title=${backend.changes.join("; ")}>changed</span>`}</small>
  </th>`;
}

function State({ row }) {
  const { backend } = row;
  return html`<${Badge} backend=${backend} />
    ${backend.drain ? html`<${Drain} row=${row} />` : html`<span class="why" title=${backend.why}>
      ${backend.why}</span>`}`;
}

function Figure({ label, text, series, least, tone }) {
  return html`<td role="cell" data-label=${label} class="figure"><span class="number">${text}</span>
    <${Sparkline} series=${series} least=${least} tone=${tone} /></td>`;
}

/** The latest of few connects is worth more than nothing: a quiet second says nothing new. */
function lastKnown(series) {
  return series?.values().findLast(Number.isFinite) ?? NaN;
}

function Shares({ row, pool, opened }) {
  const { backend, series } = row;
  const keys = pool.shares?.[backend.name];
  return html`<${Share} name="weight" part=${backend.weight_share} tone="weight" />
    <${Share} name="traffic" part=${(series?.opened.sum ?? 0) / opened.get(backend.tier)} tone="traffic" />
    ${keys !== undefined && html`<${Share} name="keys" part=${keys} tone="keys" />`}`;
}

function Acts({ backend }) {
  const { name, mode, weight } = backend;
  // One button for both: it keeps the focus when its backend has changed.
  const [word, act] = mode === "enabled" ? ["Drain", drain] : ["Enable", enable];
  return html`
    <button class="small" onClick=${() => act(backend)} aria-label=${`${word} ${name}`}>${word}…</button>
    <button class="small" onClick=${() => setWeight(backend)}
      aria-label=${`Weight ${weight} of ${name}`}>Weight ${weight}…</button>
    <button class="small" onClick=${() => showBackend(backend)}
      aria-label=${`More of ${name}`}>More…</button>`;
}
