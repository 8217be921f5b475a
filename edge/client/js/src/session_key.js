// @ts-check
import { Code, KEY_FUNCTION_SECONDS } from "./constants.js";
import { issuedKey, renewedKey } from "./keys.js";
import { within } from "./time.js";

/** @typedef {import("./keys.js").SessionScope} SessionScope */
/** The key of a session, or a function that fetches one. @typedef {string | (() => string | Promise<string>)} Key */

const MAX_UNANSWERED = 4; // so many requests for a key without an answer, and the room joins without one: POST may be blocked
const RENEWAL_SECONDS = 5; // the wait after a renewal that failed

/** The key with which one room says hello: the page's own, or one that the server issues. */
export class SessionKey {
  /** @type {import("./keys.js").IssuedKey} */
  #issued = { key: null, renewAt: Infinity };
  /** The issued key that the server has refused. @type {string | null} */
  #refused = null;
  /** True from the refusal of an issued key to the next welcome. */
  #replaced = false;
  /** The requests for a key in a row that had no answer. */
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

  /** True if another key can be fetched. */
  get renewable() { return typeof this.#own === "function"; }

  /** When to renew the key, in seconds since the epoch. */
  get renewAt() { return this.#own === undefined && this.#issued.key !== null ? this.#issued.renewAt : Infinity; }

  /** The key for the next hello. @param {boolean} seated true if there is a seat to resume, which needs a key of the same session @returns {Promise<string | null>} */
  async find(seated) {
    if (this.#own !== undefined) {
      const key = typeof this.#own === "function" ? await within(KEY_FUNCTION_SECONDS, this.#own()) : this.#own;
      if (typeof key !== "string" || key === "") throw new TypeError("a key is a text that is not empty");
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
      console.warn(`edge: ${this.#server}/session does not answer, so this room is joined as a guest without a key`);
      this.#issued = { key: null, renewAt: Infinity };
      this.#unanswered = 0;
      this.missing = true;
    }
  }

  /** Get a newer key of the same session if it is time, so that the seat can be resumed for as long as the page lives. */
  async renew() {
    const { key, renewAt } = this.#issued;
    if (this.#own !== undefined || key === null || Date.now() / 1000 < renewAt) return;
    this.#issued = { key, renewAt: Date.now() / 1000 + RENEWAL_SECONDS };
    try {
      const issued = await renewedKey(this.#server, this.#scope, key);
      if (this.#issued.key === key) this.#issued = issued;
    } catch (error) {
      console.warn("edge: the session's key could not be renewed:", String(error));
    }
  }

  /** Record how a connection ended. Returns true if the server refused an issued key, and another should be tried. @param {number} code */
  noteRefusal(code) {
    if (this.#own !== undefined || this.#replaced || (code !== Code.KEY_INVALID && code !== Code.KEY_EXPIRED)) return false;
    this.#replaced = true;
    this.#refused = this.#issued.key;
    return true;
  }

  noteWelcome() { this.#replaced = false; }
}
