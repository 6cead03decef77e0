// Keeps what the page knows up to date: two streams, and the rest when an event says so.

import { get, pathOf } from "./api.js";
import { keyOf } from "./history.js";
import { addEvent, changed, state } from "./store.js";
import { follow } from "./stream.js";
import { timed } from "./timing.js";

const SILENCE_OF_STATS = 6_000; // one comes each second
const SILENCE_OF_EVENTS = 45_000; // a comment comes every 15 s
const POOLS_EVERY = 10;
const STATUS_EVERY = 5;
const MOST_DRAINS = 4;
const TOLD_FOR = 10;

const broken = new Set(); // which streams are down
const again = [];

/** Begin to read. */
export function start() {
  const streams = [
    ["/stats/stream", SILENCE_OF_STATS, () => "", addStats],
    ["/events/stream", SILENCE_OF_EVENTS, () => `?after=${state.lastEvent}`, takeEvent],
  ];
  for (const [path, silence, query, onMessage] of streams) {
    const onUp = () => cameUp(path);
    const onDown = (why) => wentDown(path, why);
    again.push(follow(path, { query, silence, onMessage, onUp, onDown }));
  }
}

/** Do not wait for the next attempt. */
export function tryNow() {
  for (const wake of again) wake();
}

/** Ask for pools and status again; many calls in a moment are one request. */
export const refreshPools = atMostOneAtATime(async () => {
  state.pools = (await get("/pools")).pools;
});
export const refreshStatus = atMostOneAtATime(async () => {
  state.status = await get("/status");
});

export function refresh() {
  refreshStatus();
  refreshPools();
}

function cameUp(path) {
  broken.delete(path);
  if (broken.size === 0) state.lost = null;
  refresh();
  changed();
}

function wentDown(path, why) {
  const since = state.lost?.since ?? Date.now() / 1000;
  broken.add(path);
  state.lost = { since, why };
  changed();
}

function addStats(text) {
  timed("figures", () => {
    const stats = JSON.parse(text);
    state.at = stats.at;
    state.active = stats.active;
    state.waiting = stats.waiting;
    state.figures = new Map(stats.backends.map((each) => [keyOf(each.pool, each.name), each]));
    state.history.add(stats);
  });
  changed();
  askForTheRest();
}

let seconds = 0;

/** Statistics are the page's clock: what has no stream is asked for every few of them. */
function askForTheRest() {
  if (document.hidden) return;
  seconds += 1;
  if (seconds % STATUS_EVERY === 0) refreshStatus();
  if (seconds % POOLS_EVERY === 0) refreshPools();
  else refreshDrains();
}

/** How a drain goes is asked for each second, but not of a thousand backends. */
const refreshDrains = atMostOneAtATime(async () => {
  const draining = state.pools.flatMap((pool) => pool.backends.filter((each) => each.drain));
  for (const each of draining.slice(0, MOST_DRAINS)) replace(await get(pathOf(each)));
});

function replace(backend) {
  const members = state.pools.find((pool) => pool.name === backend.pool)?.backends ?? [];
  const place = members.findIndex((each) => each.name === backend.name);
  if (place >= 0) members[place] = backend;
}

function takeEvent(text) {
  const event = JSON.parse(text);
  addEvent(event);
  tell(event);
  refresh();
}

/** A screen reader hears what is new, and not what is read from the past. */
function tell(event) {
  if (state.at !== null && event.at > state.at - TOLD_FOR) state.news = event.text;
}

/** `ask`, but while it runs further calls wait, and become one. */
function atMostOneAtATime(ask) {
  let running = false;
  let wanted = false;
  return async () => {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      await attempt(ask);
    }
    running = false;
  };
}

async function attempt(ask) {
  try {
    await ask();
    changed();
  } catch (error) {
    // The streams say if the balancer is gone; and a backend may just have been removed.
    if (error.status === undefined) console.error(error);
  }
}
