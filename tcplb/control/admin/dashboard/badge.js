// The condition of a backend, to be seen and to be read.

import { html } from "./vendor/htm-preact.js";
import { condition, CONDITIONS } from "./backends.js";

/** A sign and a word, so that it does not hang on colour. */
export function Badge({ backend }) {
  const word = condition(backend);
  const { sign, tone } = CONDITIONS[word];
  const parts = `${backend.mode}; checks: ${backend.checked}; connects: ${backend.passive}`;
  return html`<span class="badge ${tone}" title=${parts}><span aria-hidden="true">${sign}</span> ${word}</span>`;
}
