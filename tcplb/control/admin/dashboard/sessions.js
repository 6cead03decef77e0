// The open connections, a page at a time.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { closeSession } from "./actions.js";
import { get } from "./api.js";
import { Failure } from "./dialogs.js";
import { bytes, count, duration, plural } from "./format.js";
import { state } from "./store.js";
import { useOnScreen } from "./window.js";

const A_PAGE = 50;
const EVERY = 5_000;
const NONE = { pool: "", backend: "", client: "", listener: "" };
const COLUMNS = [
  "Session",
  "Client",
  "Listener",
  "Backend",
  "Phase",
  "Age",
  "To backend",
  "From backend",
  "Key",
  "Actions",
];

/** The section. It asks again every few seconds, while it is on the screen. */
export function Sessions() {
  const element = useRef(null);
  const seen = useOnScreen(element);
  const [filter, setFilter] = useState(NONE);
  const [cursors, setCursors] = useState([null]); // of the pages up to this one
  const { page, of, problem, look } = usePage(filter, cursors, seen);
  const onFilter = (wanted) => {
    setFilter(wanted);
    setCursors([null]);
  };
  return html`<section id="sessions" aria-labelledby="sessions-heading" ref=${element}>
    <h2 id="sessions-heading">Sessions</h2>
    <${Filter} setFilter=${onFilter} />
    <${Failure} problem=${problem} />
    ${
      page &&
      !problem &&
      html`<${Table} page=${page} look=${look} />
      <${Pager} page=${page} of=${of} cursors=${cursors} setCursors=${setCursors} />`
    }
  </section>`;
}

/** The last page that was answered, and `of` which cursors it is: maybe not yet of those asked for. */
function usePage(filter, cursors, seen) {
  const [answer, setAnswer] = useState({ page: null, of: null, problem: null });
  const current = useRef(0);
  const look = async () => {
    const number = ++current.current;
    const next = await get("/sessions", { ...filter, cursor: cursors.at(-1), limit: A_PAGE }).then(
      (page) => ({ page, of: cursors, problem: null }),
      (problem) => ({ page: null, of: null, problem }),
    );
    // An answer to an earlier question may come late.
    if (number === current.current) setAnswer(next);
  };
  useEffect(() => {
    if (!seen) return undefined;
    look();
    const timer = setInterval(() => document.hidden || state.lost || look(), EVERY);
    return () => clearInterval(timer);
  }, [filter, cursors, seen]);
  return { ...answer, look };
}

function Filter({ setFilter }) {
  const onSubmit = (event) => {
    event.preventDefault();
    setFilter(
      Object.fromEntries(
        Object.entries(Object.fromEntries(new FormData(event.target))).map(([name, value]) => [
          name,
          value.trim(),
        ]),
      ),
    );
  };
  const names = (all) => all.map((name) => html`<option value=${name} selected=${false}>${name}</option>`);
  return html`<form class="toolbar" role="search" aria-label="Sessions" onSubmit=${onSubmit}
    onReset=${() => setFilter(NONE)}>
    <label>Pool <select name="pool"><option value="">all</option>
      ${names(state.pools.map((each) => each.name))}</select></label>
    <label>Listener <select name="listener"><option value="">all</option>
      ${names((state.status?.listeners ?? []).map((each) => each.name))}</select></label>
    <label>Backend <input name="backend" size="12" autocomplete="off" spellcheck=${false} /></label>
    <label>Client <input name="client" size="14" placeholder="10.0.0.0/8" autocomplete="off"
      spellcheck=${false} /></label>
    <button type="submit">Filter</button>
    <button type="reset">Clear</button>
  </form>`;
}

function Table({ page, look }) {
  if (page.sessions.length === 0)
    return html`<p>No open session ${page.total > 0 ? "on this page" : "is like that"}.</p>`;
  return html`<div class="frame"><table role="table" class="sessions" aria-labelledby="sessions-heading">
    <thead role="rowgroup"><tr role="row">
      ${COLUMNS.map((name) => html`<th role="columnheader" scope="col">${name}</th>`)}</tr></thead>
    <tbody role="rowgroup">
      ${page.sessions.map((each) => html`<${Session} key=${each.id} session=${each} look=${look} />`)}</tbody>
  </table></div>`;
}

function Session({ session, look }) {
  const close = async () => {
    if (await closeSession(session)) look();
  };
  const cells = [
    ["Client", session.client],
    ["Listener", session.listener],
    [
      "Backend",
      session.backend === null ? `${session.pool}, none yet` : `${session.backend} of ${session.pool}`,
    ],
    ["Phase", session.phase],
    ["Age", duration(session.age_s), "number"],
    ["To backend", bytes(session.bytes_up), "number"],
    ["From backend", bytes(session.bytes_down), "number"],
    ["Key", session.key, "key"],
  ];
  return html`<tr role="row">
    <th role="rowheader" scope="row">${session.id}</th>
    ${cells.map(([label, text, kind]) => html`<td role="cell" data-label=${label} class=${kind}
      title=${kind === "key" ? text : undefined}>${text}</td>`)}
    <td role="cell" class="acts">
      <button class="small" onClick=${close} aria-label=${`Close session ${session.id}`}>Close…</button></td>
  </tr>`;
}

function Pager({ page, of, cursors, setCursors }) {
  const first = (of.length - 1) * A_PAGE + 1;
  // While another page is on its way, what follows this one is not what follows that one.
  const hasNext = of === cursors && page.next !== null;
  const told =
    page.sessions.length > 0
      ? `${count(first)} to ${count(first + page.sessions.length - 1)} of ${plural(page.total, "session")}`
      : "";
  return html`<p class="pager">
    <${Turn} name="Previous" there=${cursors.length > 1} turn=${() => setCursors(cursors.slice(0, -1))} />
    <${Turn} name="Next" there=${hasNext} turn=${() => setCursors([...cursors, page.next])} />
    <span class="hint">${told}</span>
    ${page.unanswered.map(
      (worker) => html`<span class="hint">Worker ${worker} has not answered: its sessions are missing.</span>`,
    )}
  </p>`;
}

/** A button that is there even if its page is not: one that is disabled would lose the focus. */
function Turn({ name, there, turn }) {
  return html`<button class="small" aria-disabled=${String(!there)} onClick=${() => there && turn()}
    aria-label=${`${name} page of sessions`}>${name}</button>`;
}
