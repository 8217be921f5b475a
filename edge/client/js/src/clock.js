// @ts-check
import { CLOCK_DRIFT, CLOCK_JUMP, CLOCK_SAMPLES, CLOCK_SLEW } from "./constants.js";

/** An estimate of the room's clock, from the stored answer with the shortest round trip. All times are in seconds. */
export class Clock {
  /** The duration of the newest round trip. @type {number | null} */
  roundTrip = null;
  /** @type {{took: number, offset: number}[]} */
  #samples = [];
  /** @type {number | null} */
  #offset = null;
  #readAt = 0;

  /** Reset the estimate, because the room is a new one, or its clock has started again. */
  restart() {
    this.roundTrip = this.#offset = null;
    this.#samples = [];
  }

  /**
   * Store an answer to a ping or the hello, and drop earlier answers that contradict it.
   * @param {number} asked when the ping was sent @param {number} told the room's clock in the answer @param {number} now when the answer arrived
   */
  note(asked, told, now) {
    const [took, offset] = [Math.max(0, now - asked), told - (asked + now) / 2];
    const agreeing = this.#samples.filter((each) => Math.abs(each.offset - offset) <= (each.took + took) / 2 + CLOCK_DRIFT);
    this.roundTrip = took;
    this.#samples = [...agreeing, { took, offset }].slice(-CLOCK_SAMPLES);
  }

  /** Return the estimated time of the room's clock. Small corrections apply gradually, large corrections at once. @param {number} now */
  at(now) {
    if (this.#samples.length === 0) return 0;
    const best = this.#samples.reduce((one, other) => (other.took < one.took ? other : one)).offset;
    const most = CLOCK_SLEW * Math.max(0, now - this.#readAt);
    if (this.#offset === null || Math.abs(best - this.#offset) > CLOCK_JUMP) this.#offset = best;
    else this.#offset += Math.min(most, Math.max(-most, best - this.#offset));
    this.#readAt = now;
    return now + this.#offset;
  }
}
