// The whole balancer over the last minutes.

import { html, useRef } from "./vendor/htm-preact.js";
import { Chart, pointed, pointedEvents } from "./charts.js";
import { bytes, clock, count, latency, rate } from "./format.js";
import { SECONDS_OF_ALL } from "./history.js";
import { state } from "./store.js";
import { isDark } from "./theme.js";
import { useOnScreen } from "./window.js";

/** Four charts, and what happened under the pointer. */
export function Overview() {
  const element = useRef(null);
  const drawn = useRef(null);
  if (useOnScreen(element) || drawn.current === null) drawn.current = html`<${Charts} />`;
  return html`<section id="overview" aria-labelledby="overview-heading" ref=${element}>
    <h2 id="overview-heading">The last ${SECONDS_OF_ALL / 60} minutes</h2>
    ${drawn.current}
  </section>`;
}

function Charts() {
  const all = state.history.all;
  const now = state.at ?? Date.now() / 1000;
  const { times, from } = known(all.at.values());
  const events = state.events.filter((each) => each.at >= now - SECONDS_OF_ALL);
  const common = { times, now, events, dark: isDark() };
  const line = (name, series, tone) => ({
    name,
    tone,
    series: { points: () => series.points().slice(from) },
  });
  return html`<div class="charts">
      <${Chart} ...${common} title="Open connections" format=${count} whole=${true}
        lines=${[line("open", all.active, "one"), line("waiting", all.waiting, "three")]} />
      <${Chart} ...${common} title="Connections a second" format=${rate}
        lines=${[
          line("accepted", all.rate, "one"),
          line("turned away", all.turnedAway, "two"),
          line("connect failures", all.errors, "three"),
        ]} />
      <${Chart} ...${common} title="Bytes a second" format=${bytes} whole=${true}
        lines=${[line("from backends", all.down, "one"), line("to backends", all.up, "two")]} />
      <${Chart} ...${common} title="Time to connect" format=${latency}
        lines=${[line("mean", all.latency, "one")]} />
    </div>
    <p class="pointed hint">${told(events)}</p>`;
}

/** uPlot takes no times that are not known. */
function known(times) {
  const from = times.findIndex(Number.isFinite);
  return from < 0 ? { times: [], from: times.length } : { times: times.slice(from), from };
}

function told(events) {
  if (pointed.at === null) return "Dashed lines are events; those about health are red.";
  const near = pointedEvents(events).map((each) => each.text);
  return [clock(pointed.at), ...near].join(" · ");
}
