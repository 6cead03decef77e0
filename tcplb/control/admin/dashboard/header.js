// How the balancer is, in one line, and what must not be overlooked.

import { html, useState } from "./vendor/htm-preact.js";
import { save } from "./actions.js";
import { askForToken } from "./dialogs.js";
import { tryNow } from "./feed.js";
import { clock, count, duration } from "./format.js";
import { reload } from "./reload.js";
import { changed, say, state } from "./store.js";
import { setTheme, theme, THEMES } from "./theme.js";
import { forget, held } from "./token.js";

/** The top of the page. */
export function Header() {
  return html`<header class="top">
    <h1>tcplb <small>${state.status?.version} on ${location.host}</small></h1>
    <${Tools} />
    <${StatusLine} status=${state.status} />
  </header>`;
}

function Tools() {
  const changes = state.status?.runtime_changes ?? 0;
  return html`<div class="tools">
    <button onClick=${reload}>Reload…</button>
    <button onClick=${save} aria-disabled=${String(changes === 0)}>
      Save changes${changes > 0 && ` (${changes})`}…</button>
    <${Token} />
    <label class="theme">Theme <select onChange=${(event) => choose(event.target.value)}>
      ${THEMES.map((each) => html`<option value=${each} selected=${each === theme()}>${each}</option>`)}
    </select></label>
  </div>`;
}

function choose(chosen) {
  setTheme(chosen);
  changed();
}

function Token() {
  const [, redraw] = useState(0);
  const give = async () => {
    await askForToken("");
    redraw(Date.now());
  };
  const drop = () => {
    forget();
    say("The token is forgotten.");
  };
  return held()
    ? html`<button onClick=${drop}>Forget token</button>`
    : html`<button onClick=${give}>Enter token…</button>`;
}

function StatusLine({ status }) {
  if (status === null) return html`<p class="status">Reading…</p>`;
  return html`<dl class="status">
    ${facts(status).map(([term, text, tone]) => html`<div class=${tone}><dt>${term}</dt><dd>${text}</dd>
      </div>`)}</dl>`;
}

function facts(status) {
  const ready = status.workers.filter((each) => each.state === "ready").length;
  const active = state.at === null ? status.active : state.active;
  const waiting = state.waiting;
  return [
    ["State", status.state, status.state === "serving" ? "good" : "warn"],
    ["Ready", status.ready ? "yes" : "no: a pool has no usable backend", status.ready ? "good" : "bad"],
    ["Up for", duration((state.at ?? status.started_at + status.uptime_s) - status.started_at)],
    ["Workers", `${ready} of ${status.workers.length} ready`, ready === status.workers.length ? "" : "warn"],
    ["Connections", `${count(active)} of ${count(status.max_connections)}`],
    ["Waiting", count(waiting), waiting > 0 ? "warn" : ""],
    ["Reloads", `${count(status.reloads.succeeded)} good, ${count(status.reloads.failed)} failed`],
    ["Runtime changes", count(status.runtime_changes), status.runtime_changes > 0 ? "warn" : ""],
    ["Config", status.config_file ?? "no file"],
  ];
}

/** What must not be overlooked. */
export function Banners() {
  const { lost, status } = state;
  return html`<div class="banners" role="alert">
    ${lost && html`<${Lost} lost=${lost} />`}
    ${status?.reloads.last_error && html`<div class="banner bad">
      <strong>The last reload failed, and the configuration before it is in force.</strong><pre>
        ${status.reloads.last_error}</pre></div>`}
    ${status?.state === "draining" && html`<div class="banner warn">
      <strong>tcplb is draining.</strong> It takes no new connections.</div>`}
  </div>`;
}

function Lost({ lost }) {
  return html`<div class="banner bad lost">
    <strong>Connection lost</strong> since ${clock(lost.since)}. What is shown is from then. ${lost.why}
    <button class="small" onClick=${tryNow}>Try now</button></div>`;
}
