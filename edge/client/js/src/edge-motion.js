// @ts-check
/**
 * For pages that show what moves: a world that browser and server simulate by the same rules, without visible jumps.
 *
 *     import { Smoothing, Timeline } from "/edge-motion.js";
 *
 * Both know nothing of rooms: ticks, states and inputs are the page's own. See docs/how-to.md.
 */

/**
 * A world in fixed steps, and its recent past. News of a tick that has been simulated already, from a server that is always a
 * little behind, is put where it belongs: what followed is simulated again. So the present is a prediction, of one's own
 * player above all, that is mended as soon as more is known.
 *
 * @template State, Input
 */
export class Timeline {
  /** @type {State[]} */
  #states;
  #oldest;
  /** The newest tick whose state takes all inputs into account. */
  #valid;
  /** @type {Map<number, Input[]>} */
  #inputs = new Map();
  #step;
  #keep;

  /**
   * @param {{tick: number, state: State, step: (state: State, inputs: Input[]) => State, keep?: number}} options where it
   *   begins; what a tick makes of a state, which it must leave as it is; how many ticks of the past to keep
   */
  constructor({ tick, state, step, keep = 300 }) {
    this.#states = [state];
    this.#oldest = this.#valid = tick;
    this.#step = step;
    this.#keep = keep;
  }

  /** The newest tick that has been simulated. */
  get tick() { return this.#oldest + this.#states.length - 1; }

  /**
   * Something happens in this tick. False if that is too long ago, or before the beginning: then start again, from a state that
   * the server tells.
   * @param {number} tick @param {Input} input
   */
  put(tick, input) {
    if (tick <= this.#oldest) return false;
    this.#inputs.set(tick, [...(this.#inputs.get(tick) ?? []), input]);
    this.#valid = Math.min(this.#valid, tick - 1);
    return true;
  }

  /** Remove predicted inputs that did not happen, or not in that tick. @param {(input: Input, tick: number) => boolean} which true for an input to remove */
  takeBack(which) {
    for (const [tick, inputs] of this.#inputs) {
      const left = inputs.filter((input) => !which(input, tick));
      if (left.length === inputs.length) continue;
      this.#inputs.set(tick, left);
      this.#valid = Math.min(this.#valid, tick - 1);
    }
  }

  /**
   * Simulate up to this tick, and again what has changed since. False if that is further than the past that is kept, as after
   * a page was asleep: start again.
   * @param {number} tick
   */
  advance(tick) {
    const until = Math.max(tick, this.tick);
    if (until - this.#valid > this.#keep) return false;
    for (let next = this.#valid + 1; next <= until; next++) {
      this.#states[next - this.#oldest] = this.#step(this.state(next - 1), this.#inputs.get(next) ?? []);
    }
    this.#valid = until;
    while (this.#states.length > this.#keep) {
      this.#states.shift();
      this.#inputs.delete(this.#oldest += 1);
    }
    return true;
  }

  /** The state after this tick, or the nearest there is. @param {number} tick */
  state(tick) {
    return this.#states[Math.max(0, Math.min(this.#states.length - 1, tick - this.#oldest))];
  }

  /** The two states around a moment between ticks, and how far it is from the one to the other. @param {number} moment */
  around(moment) {
    const tick = Math.floor(moment);
    return { before: this.state(tick), after: this.state(tick + 1), share: moment - tick };
  }
}

/**
 * Hides that something is elsewhere than was thought: it is shown where it was, and moves over to where it is, never faster
 * than a bound.
 */
export class Smoothing {
  /** How far what is shown is from the truth. */
  x = 0;
  y = 0;
  /** How far the newest correction went. */
  corrected = 0;
  #share;
  #most;

  /** @param {{share?: number, most?: number}} [options] which part of the distance to close with each frame, and how far at most */
  constructor({ share = 0.12, most = 10 } = {}) {
    this.#share = share;
    this.#most = most;
  }

  /** The truth has changed, from what was shown, by so much. @param {number} x @param {number} y */
  absorb(x, y) {
    this.x -= x;
    this.y -= y;
  }

  /** One frame passes. */
  next() {
    const distance = Math.hypot(this.x, this.y);
    this.corrected = Math.min(this.#most, distance < 0.01 ? distance : distance * this.#share);
    const left = distance > 0 ? 1 - this.corrected / distance : 0;
    this.x *= left;
    this.y *= left;
  }
}
