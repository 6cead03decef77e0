// Everything about one backend, and all that can be done to it.

import { html } from "./vendor/htm-preact.js";
import { disable, drain, enable, remove, setWeight } from "./actions.js";
import { Badge } from "./badge.js";
import { ask, Dialog } from "./dialogs.js";
import { Drain } from "./drain.js";
import { bytes, clock, count, duration, latency, percent } from "./format.js";
import { keyOf } from "./history.js";
import { state } from "./store.js";

const MOST_EVENTS = 8;

/** Open the dialog. */
export function showBackend(backend) {
  return ask(Details, { pool: backend.pool, name: backend.name });
}

function Details({ pool, name, entry, close }) {
  const found = state.pools.find((each) => each.name === pool)?.backends.find((each) => each.name === name);
  return html`<${Dialog} entry=${entry} title=${`${name} of ${pool}`} wide=${true}>
    ${found ? html`<${Everything} backend=${found} />` : html`<p>It is not in the pool any more.</p>`}
    <p class="buttons"><button onClick=${() => close(null)}>Close</button></p>
  <//>`;
}

function Everything({ backend }) {
  const figures = state.figures.get(keyOf(backend.pool, backend.name)) ?? backend;
  return html`
    <p><${Badge} backend=${backend} /> ${backend.why}</p>
    ${backend.drain && html`<p><${Drain} row=${{ backend, figures }} /></p>`}
    <${Acts} backend=${backend} />
    <dl class="grid">
      ${facts(backend, figures).map(([term, text]) => html`<div><dt>${term}</dt><dd>${text}</dd></div>`)}</dl>
    ${backend.changes.length > 0 && html`<h3>Changed at run time</h3><ul>
      ${backend.changes.map((each) => html`<li>${each}</li>`)}</ul>`}
    <${News} backend=${backend} />`;
}

function Acts({ backend }) {
  const all = [
    ["Enable…", enable, backend.mode !== "enabled"],
    ["Drain…", drain, backend.mode !== "draining"],
    ["Disable…", disable, backend.mode !== "disabled"],
    ["Weight…", setWeight, true],
    ["Remove…", remove, true],
  ];
  return html`<p class="buttons start">
    ${all.filter(([, , fits]) => fits).map(([text, act]) => html`<button key=${text}
      onClick=${() => act(backend)}>${text}</button>`)}</p>`;
}

function facts(backend, figures) {
  return [
    ["Address", backend.address],
    ["Mode", backend.mode],
    ["Checks", backend.checked],
    ["Connects", backend.passive],
    ["Usable", backend.usable ? "yes" : "no"],
    [
      "Since",
      backend.since_at === null
        ? "the start"
        : `${clock(backend.since_at)}, for ${duration(state.at - backend.since_at)}`,
    ],
    ["Ejected until", backend.ejected_until_at === null ? "–" : clock(backend.ejected_until_at)],
    ["Weight", `${backend.weight}, ${percent(backend.weight_share)} of tier ${backend.tier}`],
    [
      "Open",
      backend.max_connections > 0
        ? `${count(figures.active)} of ${count(backend.max_connections)}`
        : count(figures.active),
    ],
    ["Connections", count(figures.connections)],
    ["Failures", count(figures.connect_failures)],
    ["Ejections", count(backend.ejections)],
    ["Connect, mean", figures.connections > 0 ? latency(figures.connect_seconds / figures.connections) : "–"],
    ["To it", bytes(figures.bytes_up)],
    ["From it", bytes(figures.bytes_down)],
  ];
}

function News({ backend }) {
  const about = state.events.filter((each) => each.pool === backend.pool && each.backend === backend.name);
  if (about.length === 0) return null;
  return html`<h3>Lately</h3><ul>${about
    .slice(-MOST_EVENTS)
    .reverse()
    .map((each) => html`<li><time>${clock(each.at)}</time> ${each.text}</li>`)}</ul>`;
}
