// A small line of the last minute. It says nothing to a screen reader: the figure is beside it.
// By uPlot, as the charts are, it took three times as long to scroll a thousand backends: each row
// that comes into view would make three canvases.

import { html } from "./vendor/htm-preact.js";

const WIDTH = 60;
const HEIGHT = 16;

/** Draw `series`; `least` is the smallest value that reaches the top, so that noise looks like noise. */
export function Sparkline({ series, tone = "", least = 0 }) {
  const values = series?.values() ?? [];
  const known = values.filter(Number.isFinite);
  const top = Math.max(least, ...known) || 1;
  const isFlat = known.every((value) => value === 0); // and so nothing to look at
  return html`<svg class="sparkline ${isFlat ? "flat" : tone}" viewBox="0 0 ${WIDTH} ${HEIGHT}"
    preserveAspectRatio="none" aria-hidden="true" focusable="false">
    <path d=${path(values, top)} />
  </svg>`;
}

/** A line with gaps where nothing is known; a lone point is a short stroke. */
function path(values, top) {
  let drawn = "";
  let gap = true;
  values.forEach((value, place) => {
    if (Number.isFinite(value)) {
      const x = ((place + 0.5) / values.length) * WIDTH;
      const y = HEIGHT - 1 - (Math.min(value, top) / top) * (HEIGHT - 2);
      drawn += gap ? `M${(x - 0.5).toFixed(1)} ${y.toFixed(1)}h.5` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    }
    gap = !Number.isFinite(value);
  });
  return drawn;
}
