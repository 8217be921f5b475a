// Virtual time for edge.js in node. Import this file before all others, because it replaces the timers and clocks.
let now = 0;
let ids = 0;
/** @type {Map<number, {at: number, run: () => void}>} */
const timers = new Map();

globalThis.setTimeout = (run, wait = 0) => {
  timers.set(++ids, { at: now + Math.max(0, wait), run });
  return ids;
};
globalThis.clearTimeout = (id) => void timers.delete(id);
performance.now = () => now;
Date.now = () => 1_700_000_000_000 + now;
Math.random = () => 0.5;
AbortSignal.timeout = (wait) => {
  const abort = new AbortController();
  setTimeout(() => abort.abort(new DOMException("the time is up", "TimeoutError")), wait);
  return abort.signal;
};

/** Run all callbacks that are ready. */
async function settle() {
  for (let round = 0; round < 10; round += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Advance the clock by so many seconds, and run the timers that are due. @param {number} [seconds] */
export async function pass(seconds = 0) {
  const end = now + seconds * 1000;
  for (;;) {
    await settle();
    const [id, next] = [...timers].filter(([, { at }]) => at <= end).sort(([, one], [, other]) => one.at - other.at)[0] ?? [];
    if (next === undefined) break;
    timers.delete(id);
    now = Math.max(now, next.at);
    next.run();
  }
  now = end;
}
