// The workers and the listeners.

import { html } from "./vendor/htm-preact.js";
import { count, latency } from "./format.js";
import { state } from "./store.js";

export function Processes() {
  if (state.status === null) return null;
  return html`<section id="processes" aria-labelledby="processes-heading">
    <h2 id="processes-heading">Workers and listeners</h2>
    <${Table} name="Workers"
      columns=${["Worker", "Process", "State", "Open", "Loop late by", "Open files", "Last heard"]}
        rows=${state.status.workers.map(worker)} />
    <${Table} name="Listeners" columns=${["Listener", "Bound to", "Pool", "Open", "Accepted", "Refused"]}
      rows=${state.status.listeners.map(listener)} />
  </section>`;
}

function Table({ name, columns, rows }) {
  return html`<div class="frame"><table role="table" aria-label=${name}>
    <thead role="rowgroup"><tr role="row">
      ${columns.map((each) => html`<th role="columnheader" scope="col">${each}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map(
      ([first, ...rest]) => html`<tr role="row" key=${first}><th role="rowheader" scope="row">${first}</th>
      ${rest.map((text, place) => html`<td role="cell" data-label=${columns[place + 1]}>${text}</td>`)}</tr>`,
    )}</tbody>
  </table></div>`;
}

function worker(each) {
  return [
    `worker ${each.number}`,
    each.pid ?? "–",
    each.state,
    count(each.active),
    latency(each.loop_lag_s),
    `${count(each.open_files)} of ${count(each.max_open_files)}`,
    each.heartbeat_age_s === null ? "–" : `${latency(each.heartbeat_age_s)} ago`,
  ];
}

function listener(each) {
  const refused = Object.entries(each.refused)
    .filter(([, number]) => number > 0)
    .map(([reason, number]) => `${count(number)} by ${reason}`);
  const open =
    each.max_connections > 0 ? `${count(each.active)} of ${count(each.max_connections)}` : count(each.active);
  return [
    each.name,
    each.addresses.join(", "),
    each.pool,
    open,
    count(each.accepted),
    refused.join(", ") || "none",
  ];
}
