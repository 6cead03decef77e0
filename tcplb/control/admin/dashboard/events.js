// What happened, the latest first.

import { html, useState } from "./vendor/htm-preact.js";
import { clock, moment, plural } from "./format.js";
import { state } from "./store.js";

const FEW = 25;
const KINDS = ["all", "health", "operator", "reload", "worker", "server"];

export function Events() {
  const [kind, setKind] = useState("all");
  const [all, setAll] = useState(false);
  const found = state.events.filter((each) => kind === "all" || each.kind === kind).reverse();
  const shown = all ? found : found.slice(0, FEW);
  return html`<section id="events" aria-labelledby="events-heading">
    <h2 id="events-heading">Events</h2>
    <p class="toolbar"><label>Kind <select onChange=${(event) => setKind(event.target.value)}>
      ${KINDS.map((each) => html`<option value=${each} selected=${each === kind}>${each}</option>`)}
        </select></label></p>
    <ol class="timeline" reversed>${shown.map(
      (each) => html`<li key=${each.number} class=${each.kind}>
      <time datetime=${moment(each.at)}>${clock(each.at)}</time> <span class="tag">${each.kind}
        </span> <span>${each.text}</span></li>`,
    )}</ol>
    ${found.length === 0 && html`<p>Nothing yet.</p>`}
    ${found.length > FEW && html`<button onClick=${() => setAll(!all)}>
      ${all ? "Show fewer" : `Show all ${plural(found.length, "event")}`}</button>`}
  </section>`;
}
