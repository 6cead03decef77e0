// How far a drain has come.

import { html } from "./vendor/htm-preact.js";
import { clock, duration, plural } from "./format.js";
import { keyOf } from "./history.js";
import { state } from "./store.js";

const most = new Map(); // the most sessions that were seen, by drain: the API says what is left only

/** What is left, how old the oldest is, and until when; with a bar. */
export function Drain({ row }) {
  const { backend, figures } = row;
  const { oldest_age_s: oldest, deadline_at: deadline } = backend.drain;
  const left = figures.active;
  const whole = wholeOf(backend, left);
  if (left === 0) return html`<span class="why">nothing is left; it can be stopped or removed</span>`;
  const number = `${plural(left, "session")} left`;
  const age = oldest === null ? "" : `, the oldest ${duration(oldest)}`;
  const end = deadline === null ? "" : `; closed at ${clock(deadline)}, in ${duration(deadline - state.at)}`;
  return html`<span class="why drain">
    <progress max=${whole} value=${whole - left} aria-label=${`Drain of ${backend.name}`}></progress>
    ${[number, age, end].join("")}
  </span>`;
}

function wholeOf(backend, left) {
  const name = `${keyOf(backend.pool, backend.name)}\n${backend.drain.since_at}`;
  most.set(name, Math.max(left, most.get(name) ?? 0));
  return most.get(name);
}
