// The page: its parts in order. Each part draws itself from the store.

import { html, render } from "./vendor/htm-preact.js";
import { Dialogs } from "./dialogs.js";
import { Events } from "./events.js";
import { start } from "./feed.js";
import { Banners, Header } from "./header.js";
import { Overview } from "./overview.js";
import { Pools } from "./pools.js";
import { Processes } from "./processes.js";
import { Sessions } from "./sessions.js";
import { changed, drawWith, state } from "./store.js";
import { applyTheme, onSystemTheme } from "./theme.js";
import { timed } from "./timing.js";

const PARTS = [
  ["overview", "Overview"],
  ["pools", "Pools"],
  ["sessions", "Sessions"],
  ["events", "Events"],
  ["processes", "Workers"],
];

function Page() {
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <${Header} />
    <nav aria-label="On this page"><ul>
      ${PARTS.map(([id, name]) => html`<li><a href=${`#${id}`}>${name}</a></li>`)}</ul></nav>
    <${Banners} />
    <main id="main" tabindex="-1">
      <${Overview} />
      <${Pools} />
      <${Sessions} />
      <${Events} />
      <${Processes} />
    </main>
    <div class="said ${state.said?.kind ?? ""}" role="status">${state.said?.text}</div>
    <div class="unseen" aria-live="polite">${state.news}</div>
    <${Dialogs} />`;
}

applyTheme();
onSystemTheme(changed);
const root = document.getElementById("app");
drawWith(() => timed("drawing", () => render(html`<${Page} />`, root)));
start();
