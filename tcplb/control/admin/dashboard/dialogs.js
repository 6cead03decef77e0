// Questions to the user, one on top of the other if need be. A question is a promise of its answer.

import { html, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { changed } from "./store.js";
import { keep } from "./token.js";

const open = [];
let asked = 0;

/** Show a component as a dialog; it gets `close(answer)`. Null is the answer of who leaves it. */
export function ask(Component, properties = {}) {
  const opener = document.activeElement;
  return new Promise((resolve) => {
    open.push({ id: ++asked, Component, properties, resolve, opener, answer: null, element: null });
    changed();
  });
}

/** All dialogs that are open. */
export function Dialogs() {
  return open.map(
    (entry) =>
      html`<${entry.Component} key=${entry.id} ...${entry.properties} entry=${entry}
        close=${(answer) => close(entry, answer)} />`,
  );
}

function close(entry, answer) {
  entry.answer = answer;
  entry.element.close();
}

function closed(entry) {
  const place = open.indexOf(entry);
  if (place < 0) return;
  open.splice(place, 1);
  // The browser gives focus back by itself, but not to a button that was drawn anew meanwhile.
  entry.opener?.focus();
  if (document.activeElement === document.body) document.querySelector("main").focus();
  entry.resolve(entry.answer);
  changed();
}

/** The frame of a dialog: a heading, what is in it, and the Escape key. */
export function Dialog({ entry, title, wide, children }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    entry.element = element.current;
    entry.element.showModal();
  }, []);
  const heading = `dialog-${entry.id}`;
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-labelledby=${heading}
    onClose=${() => closed(entry)}>
    <h2 id=${heading}>${title}</h2>
    ${children}
  </dialog>`;
}

/**
 * A question with fields and two buttons. `submit(fields)` does what is asked and returns the
 * answer; the dialog stays and shows it in words if that raises.
 */
export function Form({ entry, close, title, verb, danger, wide, children, submit, ready = true }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const onSubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      close(await submit(Object.fromEntries(new FormData(event.target))));
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Dialog} entry=${entry} title=${title} wide=${wide}>
    <form onSubmit=${onSubmit}>
      ${children}
      <${Failure} problem=${problem} />
      <p class="buttons">
        <button type="button" onClick=${() => close(null)}>Cancel</button>
        <button type="submit" class=${danger ? "danger" : "primary"} disabled=${busy || !ready}>
          ${busy ? "Please wait…" : verb}</button>
      </p>
    </form>
  <//>`;
}

/** What went wrong, for all to see and hear. Nothing is shown for a question that was left. */
export function Failure({ problem }) {
  return html`<div role="alert">
    ${problem?.message && html`<div class="failure"><${Words} problem=${problem} /></div>`}</div>`;
}

function Words({ problem }) {
  if (!problem.problems?.length) return html`<p>${problem.message}</p>`;
  const places = (each) => [each.where, each.path].filter(Boolean).join(" ");
  return html`<ul>
    ${problem.problems.map((each) => html`<li><code>${places(each)}</code> ${each.message}</li>`)}</ul>`;
}

let askingForToken = null;

/** Ask for the token; true if one was given. Several who ask at once share one question. */
export function askForToken(why) {
  askingForToken ??= ask(TokenForm, { why }).finally(() => {
    askingForToken = null;
  });
  return askingForToken;
}

function TokenForm({ why, entry, close }) {
  const submit = ({ token }) => {
    keep(token.trim());
    return true;
  };
  return html`<${Form} entry=${entry} close=${close} title="The token, please" verb="Use it" submit=${submit}>
    <p role="alert" class=${why && "failure"}>${why}</p>
    <p>Changes need the token of the admin port. It is in the port's token file,
      or is what <code>TCPLB_ADMIN_TOKEN</code> says. It is kept until this tab is closed.</p>
    <label>Token <input name="token" type="password" required autofocus autocomplete="off"
      spellcheck=${false} /></label>
  <//>`;
}
