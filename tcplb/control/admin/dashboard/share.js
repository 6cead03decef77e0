// A part of a whole, as a bar and in words.

import { html } from "./vendor/htm-preact.js";
import { percent } from "./format.js";

export function Share({ name, part, tone }) {
  return html`<div class="share"><span>${name}</span>
    <span class="bar" aria-hidden="true">
      <span class=${tone} style=${{ width: `${Math.min(1, part || 0) * 100}%` }}></span></span>
    <span class="number">${percent(part)}</span></div>`;
}
