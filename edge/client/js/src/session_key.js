// @ts-check
import { Code, KEY_FUNCTION_SECONDS } from "./constants.js";
import { issuedKey, renewedKey } from "./keys.js";
import { within } from "./time.js";

/** @typedef {import("./keys.js").SessionScope} SessionScope */
/** The key of a session, or a function that fetches one. @typedef {string | (() => string | Promise<string>)} Key */

const MAX_UNANSWERED = 4; // after this number of unanswered requests for a key, the client joins without a key, because the network may block POST
const RENEWAL_SECONDS = 5; // the wait before another renewal, after a failed one

/** The key in the hello of one room: a key that the page supplies, or a key that the server issues. */
export class SessionKey {
  /** @type {import("./keys.js").IssuedKey} */
  #issued = { key: null, renewAt: Infinity };
  /** The issued key that the server has refused. @type {string | null} */
  #refused = null;
  /** True from the refusal of an issued key to the next welcome. */
  #replaced = false;
  /** The number of successive requests for a key that got no answer. */
  #unanswered = 0;
  #server;
  #scope;
  #own;

  /** @param {string} server the address before `/session` @param {SessionScope} scope @param {Key} [own] */
  constructor(server, scope, own) {
    this.#server = server;
    this.#scope = scope;
    this.#own = own;
    /** True if the room joins without a key because `/session` did not answer. */
    this.missing = false;
  }

  /** True if the page supplied a function that can fetch another key. */
  get renewable() { return typeof this.#own === "function"; }

  /** The time at which to renew the key, in seconds since the epoch. */
  get renewAt() { return this.#own === undefined && this.#issued.key !== null ? this.#issued.renewAt : Infinity; }

  /** Return the key for the next hello; null if the server issues no keys. @param {boolean} seated true if there is a seat to resume, which needs a key of the same session @returns {Promise<string | null>} */
  async find(seated) {
    if (this.#own !== undefined) {
      const key = typeof this.#own === "function" ? await within(KEY_FUNCTION_SECONDS, this.#own()) : this.#own;
      if (typeof key !== "string" || key === "") throw new TypeError("key must be a string, not empty");
      return key;
    }
    if (seated) await this.renew();
    else await this.#request();
    return this.#issued.key;
  }

  async #request() {
    const refused = this.#refused;
    this.#refused = null;
    try {
      this.#issued = await issuedKey(this.#server, this.#scope, refused);
      this.#unanswered = 0;
      this.missing = false;
    } catch (error) {
      this.#unanswered = /** @type {Error} */ (error).name === "TimeoutError" ? this.#unanswered + 1 : 0;
      if (this.#unanswered < MAX_UNANSWERED) throw error;
      console.warn(`edge: ${this.#server}/session does not answer: this page joins without a key`);
      this.#issued = { key: null, renewAt: Infinity };
      this.#unanswered = 0;
      this.missing = true;
    }
  }

  /** Get a newer key of the same session if a renewal is due. An expired key could not resume the seat. */
  async renew() {
    const { key, renewAt } = this.#issued;
    if (this.#own !== undefined || key === null || Date.now() / 1000 < renewAt) return;
    this.#issued = { key, renewAt: Date.now() / 1000 + RENEWAL_SECONDS };
    try {
      const issued = await renewedKey(this.#server, this.#scope, key);
      if (this.#issued.key === key) this.#issued = issued;
    } catch (error) {
      console.warn("edge: the key could not be renewed:", String(error));
    }
  }

  /** Record the code with which a connection ended. Returns true if the server refused an issued key, and a new key should be tried. @param {number} code */
  noteRefusal(code) {
    if (this.#own !== undefined || this.#replaced || (code !== Code.KEY_INVALID && code !== Code.KEY_EXPIRED)) return false;
    this.#replaced = true;
    this.#refused = this.#issued.key;
    return true;
  }

  noteWelcome() { this.#replaced = false; }
}
