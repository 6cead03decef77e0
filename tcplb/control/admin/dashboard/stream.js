// Server-sent events, read by hand: an EventSource does not notice a connection that went silent,
// does not say why it was refused, and comes back after the same time in all tabs.

import { API, problemOf } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const TO_ANSWER = 6_000;

/**
 * Read a stream for ever. `query()` is asked for each connection; `onMessage(text)` gets the data
 * of each message, `onUp()` and `onDown(why)` hear of the connection; one that is
 * silent for `silence` milliseconds is taken for dead. Returns a function that tries again now.
 */
export function follow(path, { query, silence, onMessage, onUp, onDown }) {
  let failures = 0;
  let wake = () => {};
  const up = () => {
    failures = 0;
    onUp();
  };
  const run = async () => {
    for (;;) {
      const why = await read(`${API}${path}${query()}`, silence, up, onMessage);
      onDown(why);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, waitAfter(failures++));
      });
    }
  };
  run();
  return () => wake();
}

/** How long to wait: twice as long each time, and by chance less, so that tabs do not come together. */
function waitAfter(failures) {
  const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures);
  return longest * (0.5 + Math.random() / 2);
}

/** Read one connection to its end; returns why it ended. */
async function read(url, silence, onUp, onMessage) {
  const control = new AbortController();
  let timer = 0;
  const giveUpAfter = (milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort(), milliseconds);
  };
  giveUpAfter(TO_ANSWER);
  try {
    const response = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal: control.signal,
    });
    if (!response.ok) return (await problemOf(response)).message;
    onUp();
    await readLines(response.body, () => giveUpAfter(silence), onMessage);
    return "The balancer has ended the connection.";
  } catch (error) {
    if (error.name !== "AbortError" && error.name !== "TypeError") console.error(error);
    return "The balancer does not answer.";
  } finally {
    clearTimeout(timer);
    control.abort();
  }
}

async function readLines(body, alive, onMessage) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = parser(onMessage);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    parse(value);
  }
}

/** A parser that takes text in any pieces and tells the data of each message. */
export function parser(onMessage) {
  let rest = "";
  let data = [];
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      if (line === "" && data.length > 0) {
        onMessage(data.join("\n"));
        data = [];
      }
    }
  };
}
