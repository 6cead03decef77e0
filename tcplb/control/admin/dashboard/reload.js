// Reloading the config file: first what would change, then the deed.

import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { Cancelled, change } from "./api.js";
import { ask, Failure, Form } from "./dialogs.js";
import { refresh } from "./feed.js";
import { plural } from "./format.js";
import { say, state } from "./store.js";

/** Show what a reload would change, and reload if the user still wants it. */
export async function reload() {
  const answer = await ask(Reload);
  refresh();
  if (answer !== null)
    say([`Reloaded: ${plural(answer.changes.length, "change")}.`, ...answer.notes].join(" "));
}

function Reload({ entry, close }) {
  const [discard, setDiscard] = useState(false);
  const [preview, setPreview] = useState(null);
  const [problem, setProblem] = useState(null);
  const look = async (isCurrent) => {
    setPreview(null);
    setProblem(null);
    try {
      const answer = await request(true, discard);
      if (isCurrent()) setPreview(answer);
    } catch (error) {
      if (error instanceof Cancelled) close(null);
      else if (isCurrent()) setProblem(error);
    }
  };
  useEffect(() => {
    let current = true;
    look(() => current);
    return () => {
      current = false;
    };
  }, [discard]);
  return html`<${Form} entry=${entry} close=${close} title="Reload the config file" verb="Reload" wide=${true}
      ready=${preview !== null} submit=${() => request(false, discard)}>
    ${state.status?.config_file && html`<p><code>${state.status.config_file}</code></p>`}
    <${Discard} discard=${discard} setDiscard=${setDiscard} />
    <div aria-live="polite">
      ${preview ? html`<${Preview} preview=${preview} />` : !problem && html`<p>Reading the file…</p>`}
    </div>
    <${Failure} problem=${problem} />
    ${problem && html`<p>Nothing was changed.</p>`}
  <//>`;
}

function request(dryRun, discard) {
  return change("POST", "/reload", { dry_run: dryRun, discard_changes: discard });
}

function Discard({ discard, setDiscard }) {
  const changes = state.status?.runtime_changes ?? 0;
  if (changes === 0 && !discard) return null;
  return html`<label class="check">
    <input type="checkbox" checked=${discard} onChange=${(event) => setDiscard(event.target.checked)} />
    Forget the runtime changes (${changes})</label>`;
}

function Preview({ preview }) {
  if (preview.changes.length === 0 && preview.notes.length === 0)
    return html`<p>The file says what is in force: nothing would change.</p>`;
  return html`<p>This would change:</p>
    <ul class="changes">${preview.changes.map(
      (each) => html`<li class=${each.kind}>
      <code>${each.text}</code>
        ${each.needs_restart && html`<em class="hint"> needs a restart: ${each.needs_restart}</em>`}</li>`,
    )}</ul>
    ${preview.notes.length > 0 && html`<ul>${preview.notes.map((each) => html`<li>${each}</li>`)}</ul>`}`;
}
