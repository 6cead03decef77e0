// The condition of a backend, to be seen and to be read.

import { html } from "./vendor/htm-preact.js";
import { condition, CONDITIONS } from "./backends.js";

/** A sign and a word, so that it does not hang on colour. */
export function Badge({ backend }) {
  const word = condition(backend);
  const { sign, tone } = CONDITIONS[word];
  return html`<span class="badge ${tone}"><span aria-hidden="true">${sign}</span> ${word}</span>`;
}
