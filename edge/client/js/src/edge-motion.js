// @ts-check
/**
 * Prediction for pages with moving objects. The browser and the server simulate one world by the same rules. The page shows the
 * newest state without a delay, and hides corrections.
 *
 *     import { Smoothing, Timeline } from "/edge-motion.js";
 *
 * These classes are independent of rooms: the page defines the ticks, states and inputs. See docs/how-to.md.
 */

/**
 * A world that is simulated in fixed steps (ticks), with its recent states. If an input arrives late from the server, it is added
 * to its past tick, and all later ticks are simulated again. Therefore, the newest state is a prediction that lacks the newest
 * inputs of other players. Inputs that arrive correct this prediction.
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
   * @param {{tick: number, state: State, step: (state: State, inputs: Input[]) => State, keep?: number}} options `tick`
   *   and `state`: the first tick and its state. `step` returns the next state, and must not change its argument. `keep`: the
   *   number of ticks whose states are stored
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
   * Add an input to a tick. Return false if the tick is not later than the oldest stored state. In this case, make a new
   * `Timeline` from a state of the server.
   * @param {number} tick @param {Input} input
   */
  put(tick, input) {
    if (tick <= this.#oldest) return false;
    this.#inputs.set(tick, [...(this.#inputs.get(tick) ?? []), input]);
    this.#valid = Math.min(this.#valid, tick - 1);
    return true;
  }

  /** Remove predicted inputs that did not happen, or that happened in another tick. @param {(input: Input, tick: number) => boolean} which returns true for an input to remove */
  takeBack(which) {
    for (const [tick, inputs] of this.#inputs) {
      const left = inputs.filter((input) => !which(input, tick));
      if (left.length === inputs.length) continue;
      this.#inputs.set(tick, left);
      this.#valid = Math.min(this.#valid, tick - 1);
    }
  }

  /**
   * Simulate up to this tick, and simulate changed ticks again. Return false if more than `keep` ticks have to be simulated, for
   * example after the page was asleep. In this case, make a new `Timeline` from a state of the server.
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

  /** Return the state after this tick, or the nearest stored state. @param {number} tick */
  state(tick) {
    return this.#states[Math.max(0, Math.min(this.#states.length - 1, tick - this.#oldest))];
  }

  /** Return the states before and after a moment, and its place between them, from 0 to 1. @param {number} moment a time in ticks, with a fraction */
  around(moment) {
    const tick = Math.floor(moment);
    return { before: this.state(tick), after: this.state(tick + 1), share: moment - tick };
  }
}

/**
 * Hides the correction of an object's position: the object is first shown at its old position, and moves to the true position
 * within the next animation frames, at a limited speed.
 */
export class Smoothing {
  /** The distance from the true position to the shown position, as `x` and `y`. */
  x = 0;
  y = 0;
  /** The distance that the newest call of `next` corrected. */
  corrected = 0;
  #share;
  #most;

  /** @param {{share?: number, most?: number}} [options] `share`: the part of the distance that each frame
   *   corrects, from 0 to 1. `most`: the largest distance that one frame corrects */
  constructor({ share = 0.12, most = 10 } = {}) {
    this.#share = share;
    this.#most = most;
  }

  /** Record a correction of the true position by this distance. The shown position stays where it is. @param {number} x @param {number} y */
  absorb(x, y) {
    this.x -= x;
    this.y -= y;
  }

  /** Move the shown position closer to the true position. Call this once for each animation frame. */
  next() {
    const distance = Math.hypot(this.x, this.y);
    this.corrected = Math.min(this.#most, distance < 0.01 ? distance : distance * this.#share);
    const left = distance > 0 ? 1 - this.corrected / distance : 0;
    this.x *= left;
    this.y *= left;
  }
}
