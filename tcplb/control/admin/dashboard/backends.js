// What is thought of a backend, which ones are shown, and in which order. Pure.

import { keyOf } from "./history.js";

export const CONDITIONS = {
  up: { sign: "●", tone: "good" },
  "on trial": { sign: "◑", tone: "warn" },
  ejected: { sign: "▲", tone: "bad" },
  down: { sign: "✖", tone: "bad" },
  draining: { sign: "◒", tone: "warn" },
  disabled: { sign: "○", tone: "idle" },
};

/** The one word for a backend, the strongest reason first. */
export function condition(backend) {
  if (backend.mode !== "enabled") return backend.mode;
  if (backend.checked === "down") return "down";
  if (backend.passive === "ejected") return "ejected";
  return backend.passive === "on trial" ? "on trial" : "up";
}

/** Whether somebody should look at it: it is not usable, and nobody has asked for that. */
export function isInTrouble(backend) {
  return condition(backend) !== "up" && backend.mode === "enabled";
}

export const FILTERS = {
  all: { text: "all", fits: () => true },
  trouble: { text: "in trouble", fits: isInTrouble },
  "not enabled": { text: "draining or disabled", fits: (backend) => backend.mode !== "enabled" },
  changed: { text: "changed at run time", fits: (backend) => backend.changes.length > 0 },
};

/** Whether it fits what was searched for; a search that fits the pool shows all of the pool. */
export function isFound(backend, search) {
  const wanted = search.trim().toLowerCase();
  return [backend.pool, backend.name, backend.address].some((each) => each.toLowerCase().includes(wanted));
}

const byNumber = (figure) => (one, other) => figure(other) - figure(one);
const RANKS = ["down", "ejected", "on trial", "draining", "disabled", "up"];
const rank = (row) => RANKS.indexOf(condition(row.backend));
const orLeast = (number) => (Number.isFinite(number) ? number : -1);

export const ORDERS = {
  config: { text: "as configured", compare: null },
  name: {
    text: "name",
    compare: (one, other) => one.backend.name.localeCompare(other.backend.name, "en", { numeric: true }),
  },
  state: { text: "state, worst first", compare: (one, other) => rank(one) - rank(other) },
  active: { text: "open connections", compare: byNumber((row) => row.figures.active) },
  rate: { text: "new connections", compare: byNumber((row) => orLeast(row.series?.rate.last)) },
  errors: { text: "connect failures", compare: byNumber((row) => row.figures.connect_failures) },
  latency: { text: "connect time", compare: byNumber((row) => orLeast(row.series?.latency.last)) },
  bytes: { text: "bytes", compare: byNumber((row) => orLeast(row.series?.bytes.last)) },
};

/** The rows of a pool: backends with their live figures, what was asked for, in order. */
export function rowsOf(pool, { search, filter, order }, { figures, history }) {
  const fits = FILTERS[filter].fits;
  const rows = pool.backends
    .filter((each) => fits(each) && isFound(each, search))
    .map((backend) => ({
      backend,
      figures: figures.get(keyOf(backend.pool, backend.name)) ?? backend,
      series: history.of(backend.pool, backend.name),
    }));
  const compare = ORDERS[order].compare;
  return compare === null ? rows : rows.sort(compare);
}

/** Put `rows` into the order that `names` were in; what is new comes last. */
export function inOrderOf(names, rows) {
  const places = new Map(names.map((name, place) => [name, place]));
  const placeOf = (row) => places.get(row.backend.name) ?? names.length;
  return [...rows].sort((one, other) => placeOf(one) - placeOf(other));
}

/** The connections that each tier of a pool has opened in the last minute. */
export function openedByTier(pool, history) {
  const sums = new Map();
  for (const each of pool.backends) {
    const opened = history.of(each.pool, each.name)?.opened.sum ?? 0;
    sums.set(each.tier, (sums.get(each.tier) ?? 0) + opened);
  }
  return sums;
}
