// How long the page's own work takes, for those who measure it: the last of each kind, in ms.

const KEPT = 120;

export const timings = { figures: [], drawing: [] };

/** Run `work` and note how long it took. */
export function timed(kind, work) {
  const began = performance.now();
  try {
    return work();
  } finally {
    const kept = timings[kind];
    kept.push(performance.now() - began);
    if (kept.length > KEPT) kept.shift();
  }
}
