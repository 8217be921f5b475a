// @ts-check
/** Times and timers. All times are in seconds. */

/** Return the seconds that this page has existed, on a clock that never goes back. */
export function seconds() {
  return performance.now() / 1000;
}

/** Like `setTimeout`, but limits the wait to 2^31 ms. For a longer wait, `setTimeout` would run the function at once. @param {number} wait in seconds @param {() => void} run */
export function after(wait, run) {
  return setTimeout(run, Math.min(wait * 1000, 2 ** 31 - 1));
}

/** Return the result of a promise. Throw an error if there is no result in time. @template T @param {number} wait in seconds @param {T | Promise<T>} promise @returns {Promise<T>} */
export function within(wait, promise) {
  return new Promise((resolve, reject) => {
    const timer = after(wait, () => reject(new Error(`no answer within ${wait} s`)));
    Promise.resolve(promise).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
