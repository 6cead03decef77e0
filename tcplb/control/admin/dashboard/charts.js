// Charts over time by uPlot, with a line for each event.

import { html, useEffect, useLayoutEffect, useRef } from "./vendor/htm-preact.js";
import { minute } from "./format.js";
import { SECONDS_OF_ALL } from "./history.js";
import { changed } from "./store.js";

const HEIGHT = 130;
const WHOLE_MINUTES = [60, 120, 300];
const POWERS = Array.from({ length: 16 }, (_, power) => 10 ** power);
const WHOLE_NUMBERS = POWERS.flatMap((power) => [power, 2 * power, 5 * power]);
const NEAR = 4; // seconds between the pointer and an event that it means
const AHEAD = 3; // seconds by which an event may be newer than the figures

/** The second that the pointer is on, in all charts at once; null if it is on none. */
export const pointed = { at: null };

/**
 * A chart of `lines` (name, series, tone) over `times`, with `events`. `format` puts a value into
 * words, and `whole` says that there is none between 0 and 1; the caption has the values under the
 * pointer, or the last ones.
 */
export function Chart({ title, lines, times, now, events, format, whole = false, dark }) {
  const frame = useRef(null);
  const plot = useRef(null);
  const data = useRef(null);
  const marks = useRef([]);
  marks.current = events;
  data.current = [times, ...lines.map((line) => line.series.points())];
  useLayoutEffect(() => {
    plot.current = create(frame.current, lines, { format, whole }, data.current, marks);
    const observer = new ResizeObserver(([entry]) =>
      plot.current.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT }),
    );
    observer.observe(frame.current);
    return () => {
      observer.disconnect();
      plot.current.destroy();
    };
  }, [dark]); // the colours are read when it is made
  useEffect(() => {
    plot.current.setData(data.current, false);
    plot.current.setScale("x", { min: now - SECONDS_OF_ALL, max: now });
  }, [now, times.length, events.at(-1)?.number, dark]);
  const place = placeOf(times, pointed.at);
  return html`<figure class="chart">
    <figcaption><h3>${title}</h3>
      <p class="legend">
        ${lines.map((line, number) => html`<span><i class="ink ${line.tone}" aria-hidden="true"></i>
          ${line.name} <b>${wordsFor(data.current[number + 1], place, format)}</b></span>`)}</p>
    </figcaption>
    <div ref=${frame} class="plot" role="img"
      aria-label=${`${title} over the last ${SECONDS_OF_ALL / 60} minutes`}></div>
  </figure>`;
}

/** The events near the pointer. */
export function pointedEvents(events) {
  return pointed.at === null ? [] : events.filter((each) => Math.abs(each.at - pointed.at) <= NEAR);
}

function wordsFor(values, place, format) {
  const value = place === null ? values.findLast((each) => each !== null) : values[place];
  return value === null || value === undefined ? "–" : format(value);
}

function placeOf(times, at) {
  const place = at === null ? -1 : times.indexOf(at);
  return place < 0 ? null : place;
}

function create(element, lines, { format, whole }, data, marks) {
  const style = getComputedStyle(element);
  const swatches = element.parentElement.querySelectorAll(".ink");
  const inks = [...swatches].map((each) => getComputedStyle(each).backgroundColor);
  const axis = {
    stroke: style.color,
    grid: { stroke: style.borderTopColor, width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  const options = {
    width: Math.floor(element.clientWidth) || 300,
    height: HEIGHT,
    padding: [8, 4, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "tcplb" }, points: { size: 5 } },
    scales: { y: { range: (_, __, top) => [0, top > 0 ? top * 1.1 : 1] } },
    axes: [
      { ...axis, size: 22, space: 40, incrs: WHOLE_MINUTES, values: (_, ticks) => ticks.map(minute) },
      {
        ...axis,
        size: 62,
        space: 28,
        values: (_, ticks) => ticks.map(format),
        ...(whole && { incrs: WHOLE_NUMBERS }),
      },
    ],
    series: [
      {},
      ...lines.map((line, number) => ({
        stroke: inks[number],
        width: 1.5,
        points: { show: false, filter: lonely, size: 4, fill: inks[number] },
      })),
    ],
    hooks: { draw: [(plot) => drawMarks(plot, marks.current, element)], setCursor: [point] },
  };
  return new uPlot(options, data, element);
}

/** The places with nothing on either side, where no line is: a second's connects in quiet times. */
function lonely(plot, series) {
  const values = plot.data[series];
  const isKnown = (place) => (values[place] ?? null) !== null;
  return [...values.keys()].filter((at) => isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1));
}

function point(plot) {
  const { idx } = plot.cursor;
  const at = idx === null || idx === undefined ? null : plot.data[0][idx];
  if (at === pointed.at) return;
  pointed.at = at;
  changed();
}

function drawMarks(plot, events, element) {
  const { top, height } = plot.bbox;
  const { ctx } = plot;
  ctx.save();
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.lineWidth = devicePixelRatio;
  for (const event of events) {
    const x = placeOfMark(plot, event.at);
    if (x === null) continue;
    ctx.strokeStyle = inkOf(event.kind, element);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.restore();
}

/** An event comes at once and the figures each second: it stands at their end until they are there. */
function placeOfMark(plot, at) {
  const { min, max } = plot.scales.x;
  if (at < min || at > max + AHEAD) return null;
  return plot.valToPos(Math.min(at, max), "x", true);
}

/** Health is what people look for; all else is in the colour of the axes. */
function inkOf(kind, element) {
  const style = getComputedStyle(element);
  return kind === "health" ? style.outlineColor : style.color;
}
