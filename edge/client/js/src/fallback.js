// @ts-check
import { HELD_SECONDS, MAX_STRIKES, MAX_UPWARD_SECONDS, STABLE_SECONDS, UPWARD_SECONDS } from "./constants.js";
import { recall, remember } from "./storage.js";

/** @typedef {"websocket" | "stream" | "poll"} TransportKind */

/**
 * Chooses the transport to try: a WebSocket first, then an HTTP stream, then polling. A transport works if the welcome arrives
 * through it. The browser stores the choice. The client tries a better transport again later.
 */
export class TransportFallback {
  #strikes = 0;
  #index = 0;
  #kinds;
  #memory;
  #upward = UPWARD_SECONDS;

  /** @param {TransportKind[]} kinds the transports to try, the best first @param {string} memory the name under which to store the choice @param {number} now in seconds since the epoch */
  constructor(kinds, memory, now) {
    this.#kinds = kinds;
    this.#memory = memory;
    const [kind, until] = recall("localStorage", memory).split(" ");
    if (Number(until) > now) this.#index = Math.max(0, kinds.indexOf(/** @type {TransportKind} */ (kind)));
  }

  /** The transport to try next. */
  get kind() { return this.#kinds[this.#index]; }

  /** The seconds after a welcome at which to try a WebSocket again; infinite if there is no better transport to try. */
  get upwardSeconds() {
    return this.#index > 0 && this.#kinds[0] === "websocket" ? this.#upward : Infinity; // a probe can only open a WebSocket
  }

  /** Store the choice of the current transport, because a welcome has arrived through it. @param {number} now in seconds since the epoch */
  noteWelcome(now) {
    if (this.#kinds.length === 1) return;
    remember("localStorage", this.#memory, this.#index === 0 ? "" : `${this.kind} ${now + this.#upward}`);
  }

  /**
   * Record that a connection broke. Returns true if another transport should be tried at once.
   * @param {number | null} lasted the seconds from its welcome to its end; null without a welcome
   * @param {boolean} opened true if the transport was open, even if it carried no message
   */
  noteEnd(lasted, opened) {
    if (opened && lasted === null && this.#index === 0) this.#upward = Math.max(this.#upward, HELD_SECONDS);
    if (lasted !== null && lasted >= STABLE_SECONDS) {
      this.#strikes = 0;
      if (this.#index === 0) this.#upward = UPWARD_SECONDS;
      return false;
    }
    this.#strikes = lasted === null ? MAX_STRIKES : this.#strikes + 1;
    if (this.#strikes < MAX_STRIKES) return false;
    this.#strikes = 0;
    this.#index = (this.#index + 1) % this.#kinds.length;
    return this.#index > 0;
  }

  /** Record that a better transport is being tried. Double the wait before the next try. */
  noteProbe() { this.#upward = Math.min(2 * this.#upward, MAX_UPWARD_SECONDS); }

  /** Use the best transport from now on. */
  climb() { this.#index = this.#strikes = 0; }
}
