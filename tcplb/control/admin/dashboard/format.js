// Figures in words and digits, as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const PREFIXES = ["", "k", "M", "G", "T", "P"];

/** A count: 1,234 or 5.31 M. */
export function count(number) {
  return Math.abs(number) < 1e6 ? grouped.format(number) : scaled(number, "");
}

/** Something a second, without the unit: 0.4, 3, 12, 1,234. */
export function rate(number) {
  if (!Number.isFinite(number)) return "–";
  const isSmall = number < 9.95 && !Number.isInteger(number);
  return isSmall ? number.toFixed(1) : count(Math.round(number));
}

/** Bytes: 512 B, 1.2 MB, in powers of 1000. */
export function bytes(number) {
  return Number.isFinite(number) ? scaled(number, "B") : "–";
}

function scaled(number, unit) {
  let power = 0;
  let rest = number;
  // 999.5 would be shown as 1000.
  while (Math.abs(rest) >= 999.5 && power < PREFIXES.length - 1) {
    rest /= 1000;
    power += 1;
  }
  return `${digits(rest)} ${PREFIXES[power]}${unit}`.trimEnd();
}

function digits(number) {
  if (Number.isInteger(number) || Math.abs(number) >= 99.5) return number.toFixed(0);
  return number.toFixed(Math.abs(number) >= 9.95 ? 1 : 2);
}

/** A short time, as of a connect: 85 µs, 1.2 ms, 3.4 s. Takes seconds. */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  return `${digits(seconds)} s`;
}

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** A long time, in its two largest units: 3 d 4 h, 5 min 20 s. Takes seconds. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, size]) => whole >= size);
  if (first < 0) return "0 s";
  const [unit, size] = UNITS[first];
  const [smaller, smallSize] = UNITS[first + 1] ?? ["", Infinity];
  const rest = Math.floor((whole % size) / smallSize);
  return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${smaller}` : "");
}

/** A part of 1 as a percentage. */
export function percent(part) {
  return Number.isFinite(part) ? `${(part * 100).toFixed(1)} %` : "–";
}

/** The time of day. Takes seconds since the epoch. */
export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

/** The time of day to the minute. */
export function minute(at) {
  return clock(at).slice(0, 5);
}

/** Date and time, for a tooltip or a machine. */
export function moment(at) {
  return new Date(at * 1000).toISOString();
}

/** One thing or several: plural(1, "event"), plural(2, "match", "matches"). */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
