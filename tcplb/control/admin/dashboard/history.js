// The figures of the last minutes. The API gives totals; what is shown is how fast they grow.

export const SECONDS_OF_ALL = 300;
export const SECONDS_OF_ONE = 60;

/** The last `size` numbers, in a ring: a thousand backends push some thousand numbers a second. */
export class Series {
  constructor(size) {
    this._ring = new Float64Array(size).fill(NaN);
    this._next = 0;
  }

  push(number) {
    this._ring[this._next] = number;
    this._next = (this._next + 1) % this._ring.length;
  }

  get last() {
    return this._ring[(this._next + this._ring.length - 1) % this._ring.length];
  }

  /** The sum of what is known. */
  get sum() {
    let sum = 0;
    for (const number of this._ring) if (!Number.isNaN(number)) sum += number;
    return sum;
  }

  /** All of them, the oldest first; NaN where nothing is known. */
  values() {
    return [...this._ring.subarray(this._next), ...this._ring.subarray(0, this._next)];
  }

  /** The same with null for NaN, which is how uPlot wants its gaps. */
  points() {
    return this.values().map((number) => (Number.isNaN(number) ? null : number));
  }
}

/** What a name of a backend is unique with. */
export function keyOf(pool, name) {
  return `${pool}\n${name}`;
}

function seriesOf(names, size) {
  return Object.fromEntries(names.map((name) => [name, new Series(size)]));
}

const OF_ALL = ["at", "active", "waiting", "rate", "turnedAway", "errors", "up", "down", "latency"];
const OF_ONE = ["opened", "rate", "errors", "latency", "bytes"];

/** What the page remembers of the stream of statistics. */
export class History {
  constructor() {
    this._forgetAll();
  }

  /** The series of one backend, or undefined if it is not known yet. */
  of(pool, name) {
    return this._backends.get(keyOf(pool, name))?.series;
  }

  /** Take the figures of a moment. The same once more are passed by. */
  add(stats) {
    // The clock was set back: what is known is of the future, and no chart goes there.
    if (stats.at < this._previous?.at) this._forgetAll();
    const previous = this._previous;
    const seconds = previous === null ? NaN : stats.at - previous.at;
    if (seconds === 0) return;
    const grown = { errors: 0, connections: 0, connectSeconds: 0, up: 0, down: 0 };
    for (const figures of stats.backends) this._addBackend(figures, seconds, grown);
    this._forgetThoseNotIn(stats);
    this._addAll(stats, previous, seconds, grown);
    this._previous = stats;
  }

  _forgetAll() {
    this.all = seriesOf(OF_ALL, SECONDS_OF_ALL);
    this._backends = new Map();
    this._previous = null;
  }

  _addBackend(figures, seconds, grown) {
    const key = keyOf(figures.pool, figures.name);
    let known = this._backends.get(key);
    if (known === undefined) {
      known = { figures, series: seriesOf(OF_ONE, SECONDS_OF_ONE) };
      this._backends.set(key, known);
      return;
    }
    const was = known.figures;
    known.figures = figures;
    const connections = growth(figures.connections, was.connections);
    const connectSeconds = growth(figures.connect_seconds, was.connect_seconds);
    const errors = growth(figures.connect_failures, was.connect_failures);
    const up = growth(figures.bytes_up, was.bytes_up);
    const down = growth(figures.bytes_down, was.bytes_down);
    known.series.opened.push(connections);
    known.series.rate.push(connections / seconds);
    known.series.errors.push(errors / seconds);
    known.series.latency.push(connections > 0 ? connectSeconds / connections : NaN);
    known.series.bytes.push((up + down) / seconds);
    grown.connections += connections || 0;
    grown.connectSeconds += connectSeconds || 0;
    grown.errors += errors || 0;
    grown.up += up || 0;
    grown.down += down || 0;
  }

  _forgetThoseNotIn(stats) {
    if (this._backends.size === stats.backends.length) return;
    const present = new Set(stats.backends.map((each) => keyOf(each.pool, each.name)));
    for (const key of this._backends.keys()) if (!present.has(key)) this._backends.delete(key);
  }

  _addAll(stats, previous, seconds, grown) {
    const all = this.all;
    all.at.push(stats.at);
    all.active.push(stats.active);
    all.waiting.push(stats.waiting);
    for (const [name, total] of [
      ["rate", "accepted"],
      ["turnedAway", "turned_away"],
    ]) {
      all[name].push(previous === null ? NaN : growth(stats[total], previous[total]) / seconds);
    }
    all.errors.push(grown.errors / seconds);
    all.up.push(grown.up / seconds);
    all.down.push(grown.down / seconds);
    all.latency.push(grown.connections > 0 ? grown.connectSeconds / grown.connections : NaN);
  }
}

/** How much a total has grown; NaN if it began anew, as after a restart. */
function growth(now, before) {
  return now >= before ? now - before : NaN;
}
