// What the user can do to the balancer. Each asks first, does it, and says how it went.

import { html } from "./vendor/htm-preact.js";
import { change, get, pathOf } from "./api.js";
import { ask, Form } from "./dialogs.js";
import { refresh } from "./feed.js";
import { percent } from "./format.js";
import { say, state } from "./store.js";

/** Let the connections of a backend end, and give it no new ones. */
export function drain(backend) {
  return act({
    title: `Drain ${backend.name}?`,
    verb: "Drain",
    text: "It gets no new connections. The open ones may go on.",
    fields: html`<label>Close what is left after
      <input name="timeout" autofocus placeholder="5m" size="8" autocomplete="off"
        aria-describedby="timeout-hint" /></label>
      <p class="hint" id="timeout-hint">A duration such as 30s, 5m or 1h. Empty: never.</p>`,
    run: ({ timeout }) =>
      change("PUT", `${pathOf(backend)}/state`, { state: "draining", timeout: timeout.trim() || null }),
    done: `${backend.name} is draining.`,
  });
}

/** Give a backend new connections again. */
export function enable(backend) {
  return act({
    title: `Enable ${backend.name}?`,
    verb: "Enable",
    text: "It gets connections again, if its checks pass and it is not ejected.",
    run: () => change("PUT", `${pathOf(backend)}/state`, { state: "enabled" }),
    done: `${backend.name} is enabled.`,
  });
}

/** Give a backend no connections, and check it no longer. */
export function disable(backend) {
  return act({
    title: `Disable ${backend.name}?`,
    verb: "Disable",
    danger: true,
    text: "It gets no new connections and is not checked, until it is enabled again.",
    run: () => change("PUT", `${pathOf(backend)}/state`, { state: "disabled" }),
    done: `${backend.name} is disabled.`,
  });
}

/** Give a backend another weight. */
export function setWeight(backend) {
  return act({
    title: `Weight of ${backend.name}`,
    verb: "Set weight",
    text: `It has weight ${backend.weight}, which is ${percent(backend.weight_share)} of its tier.`,
    fields: html`<label>New weight
      <input name="weight" type="number" min="0" max="256" step="1" required autofocus
        defaultValue=${backend.weight} /></label>
      <p class="hint">0 to 256. 0 gives it no new connections.</p>`,
    run: ({ weight }) => change("PUT", `${pathOf(backend)}/weight`, { weight: Number(weight) }),
    done: `${backend.name} has another weight.`,
  });
}

/** Add a backend to a pool. */
export function add(pool) {
  return act({
    title: `Add a backend to ${pool.name}`,
    verb: "Add",
    text: "",
    fields: html`<label>Backend
      <input name="backend" required autofocus autocomplete="off" spellcheck=${false}
        placeholder="b5=10.0.0.5:8080,weight=2" aria-describedby="backend-hint" /></label>
      <p class="hint" id="backend-hint">[NAME=]HOST:PORT, then if need be
        ,weight=N ,max_connections=N ,tier=N ,backup ,state=…</p>`,
    run: ({ backend }) =>
      change("POST", `/backends/${encodeURIComponent(pool.name)}`, { backend: backend.trim() }),
    done: `${pool.name} has a backend more.`,
  });
}

/** Take a backend out of its pool. */
export function remove(backend) {
  return act({
    title: `Remove ${backend.name} from ${backend.pool}?`,
    verb: "Remove",
    danger: true,
    text:
      backend.active > 0
        ? "It still has open connections. Drain it first if they matter."
        : "It has no open connections.",
    run: () => change("DELETE", pathOf(backend)),
    done: `${backend.name} is removed.`,
  });
}

/** Close a session, both sides, with a reset. */
export function closeSession(session) {
  return act({
    title: `Close session ${session.id}?`,
    verb: "Close it",
    danger: true,
    text: `${session.client} to ${session.backend ?? "no backend yet"} is cut off: both sides get a reset.`,
    run: () => change("DELETE", `/sessions/${encodeURIComponent(session.id)}`),
    done: `Session ${session.id} is closed.`,
  });
}

/** Write the runtime changes into the config file. */
export async function save() {
  if (state.status?.runtime_changes === 0) {
    say("There are no runtime changes to save.");
    return null;
  }
  let difference;
  try {
    difference = await get("/config/diff");
  } catch (error) {
    say(error.message, "bad");
    return null;
  }
  return act({
    title: "Save the runtime changes?",
    verb: "Save",
    text: "They are written into the config file, and hold after a restart:",
    fields: html`<ul class="changes">${difference.runtime_changes.map((each) => html`<li>${each}</li>`)}
      </ul>`,
    run: () => change("POST", "/config/save"),
    done: "The runtime changes are in the config file.",
  });
}

async function act(asked) {
  const answer = await ask(Action, { asked });
  if (answer === null) return null;
  say([asked.done, ...(answer.notes ?? [])].join(" "));
  refresh();
  return answer;
}

function Action({ asked, entry, close }) {
  return html`<${Form} entry=${entry} close=${close} title=${asked.title} verb=${asked.verb}
    danger=${asked.danger} submit=${asked.run}>
    ${asked.text && html`<p>${asked.text}</p>`}
    ${asked.fields}
  <//>`;
}
