// What the page knows. Whoever changes it calls `changed`, and the page is drawn anew once.

import { History } from "./history.js";

const MOST_EVENTS = 500;

export const state = {
  status: null,
  pools: [],
  figures: new Map(), // the live figures of each backend, by keyOf
  at: null, // the balancer's clock, in seconds since the epoch
  active: 0, // all sessions: those that wait, and those of backends that are gone, too
  waiting: 0,
  history: new History(),
  events: [], // the oldest first
  lastEvent: 0,
  news: "", // what a screen reader is told
  lost: null, // { since, why } while there is no connection
  said: null, // { text, kind } of the last action
};

let draw = () => {};
let planned = false;

/** Say what draws the page. */
export function drawWith(callback) {
  draw = callback;
  changed();
}

/** Have the page drawn, before the next frame; a page that nobody sees is not drawn. */
export function changed() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    draw();
  });
}

/** Tell the user how something went that they asked for. */
export function say(text, kind = "good") {
  state.said = { text, kind };
  changed();
  const told = state.said;
  setTimeout(() => {
    if (state.said !== told) return;
    state.said = null;
    changed();
  }, 8000);
}

/** Take an event. Numbers only grow: one that does not is from another process, all before is past. */
export function addEvent(event) {
  if (event.number <= state.lastEvent) forgetThePast();
  state.lastEvent = event.number;
  state.events.push(event);
  if (state.events.length > MOST_EVENTS) state.events.shift();
  changed();
}

/** Begin anew, as the balancer did. */
function forgetThePast() {
  state.events = [];
  state.history = new History();
}
