// @ts-check
import { Clock } from "./clock.js";
import { AGAIN_ATTEMPTS, Code, LONGEST_WAIT, retryAfter, SHORTEST_WAIT, STABLE_SECONDS } from "./constants.js";
import { ConnectionDriver } from "./driver.js";
import { TransportFallback } from "./fallback.js";
import { PageLife } from "./page.js";
import { randomName } from "./random.js";
import { SendBuffer } from "./send_buffer.js";
import { SessionKey } from "./session_key.js";
import { after, seconds } from "./time.js";
import { probeWebSocket } from "./websocket.js";
import { ProtocolError } from "./wire.js";

/** @typedef {"connecting" | "open" | "away" | "closed"} Status */
/** The end of a connection that does not reconnect. `unconfirmed`: true if another server may continue the room. @typedef {{code: number, reason: string, unconfirmed?: boolean}} Ending */
/** @typedef {import("./wire.js").Welcome} Welcome */
/**
 * The callbacks of the connection. `message`: called for each message to the page. `tell`: called for an event of this client
 * that the page may handle, such as `$status`. `problem`: called if messages were lost. `seatLost`: called if the seat has ended.
 * The unanswered requests of this seat get no answers.
 * @typedef {{message: (message: import("./wire.js").Delivered) => void, tell: (name: string, body: any) => void,
 *   problem: (problem: string, message: string) => void, seatLost: (reason: string) => void}} ConnectionListener
 */

/** The connection of one seat. It reconnects, with any transport, until a code forbids another attempt. */
export class ReconnectingConnection {
  /** The current connection, which may not be open yet. @type {ConnectionDriver | null} */
  #driver = null;
  #buffer = new SendBuffer();
  #clock = new Clock();
  /** The number of failed attempts in a row. `#hellos` is the number of all hellos. */
  #attempt = 0;
  #hellos = 0;
  #client = randomName();
  /** The timer that starts a probe. `#retryTimer` starts the next attempt to connect. */
  #probeTimer = 0;
  #retryTimer = 0;
  #seated = false;
  /** The number of the hello whose welcome started the seat fresh most recently. */
  #since = 0;
  #openedAt = 0;
  /** The URL to connect to: `#url`, the room's URL that the page has given, or the room's URL at the server that has the room. */
  #address;
  #url;
  /** What each hello says. `vocabulary`: the fingerprint of the events for which this page was made, at the latest from the first welcome. */
  #hello;
  #key;
  #fallback;
  #listener;
  #page;

  /**
   * @param {{url: string, server: string, hello: {name: string, options?: object, create?: string, vocabulary?: string}, key?: import("./session_key.js").Key,
   *   session: import("./keys.js").SessionScope, transports: import("./fallback.js").TransportKind[]}} options
   * @param {ConnectionListener} listener
   */
  constructor({ url, server, hello, key, session, transports }, listener) {
    this.#url = this.#address = url;
    this.#hello = hello;
    this.#key = new SessionKey(server, session, key);
    this.#fallback = new TransportFallback(transports, `edge transport ${server}`, Date.now() / 1000);
    this.#listener = listener;
    /** @type {Status} */
    this.status = "connecting";
    /** @type {Ending | null} */
    this.ending = null;
    /** The newest welcome. @type {Welcome | null} */
    this.welcome = null;
    this.#page = new PageLife({
      check: (mayBeBetter) => this.#check(mayBeBetter),
      pause: () => this.#pause(),
      needsGoodbye: () => this.#fallback.kind !== "websocket",
    });
    this.#connect();
  }

  get transport() { return this.#fallback.kind; }
  get roundTrip() { return this.#clock.roundTrip; }
  get waiting() { return this.#buffer.counts.unacked.length; }
  get outdated() {
    const { vocabulary } = this.#hello;
    return ((vocabulary && this.welcome?.vocabulary) || vocabulary) !== vocabulary; // unknown fingerprints do not differ
  }

  now() {
    this.#driver?.askClock();
    return this.#clock.at(seconds());
  }

  /** See `SendBuffer.frame`. @param {any[]} message */
  frame(message) {
    return this.#buffer.frame(message);
  }

  /** @param {string} frame */
  sendCounted(frame) {
    this.#buffer.counts.record(frame);
    if (this.#buffer.counts.overflowed) this.#giveUp();
    else if (this.status === "open") this.#driver?.send(frame);
  }

  /** @param {string} key @param {string} frame */
  sendLatest(key, frame) {
    this.#buffer.setLatest(key, frame);
    if (this.status === "open") this.#driver?.writeLatest();
  }

  /** @param {string} frame @returns {boolean} false if the frame was dropped, because it can't be written now */
  sendVolatile(frame) {
    return this.status === "open" && this.#driver?.sendNow(frame) === true;
  }

  /** End the connection, and never reconnect. @param {Ending} ending */
  close(ending) {
    if (this.ending !== null) return;
    this.ending = ending;
    this.#drop(ending.code, ending.reason);
    this.#listener.seatLost(ending.reason);
    this.#page.stop();
    if (this.welcome === null && ending.code !== Code.LEFT) console.warn(`edge: no seat in ${this.#url}: ${ending.code} ${ending.reason}`);
    this.#setStatus("closed");
  }

  async #connect() {
    const kind = this.#fallback.kind;
    const driver = this.#driver = new ConnectionDriver(this.#buffer, this.#clock, this.#key, {
      welcomed: (welcome) => this.#welcomed(welcome, driver),
      message: (message) => this.#listener.message(message),
      lost: (code, reason, details) => this.#lost(code, reason, details),
    });
    /** @type {string | null} */
    let key = null;
    try {
      key = await this.#key.find(this.#seated);
    } catch (error) {
      const fault = error instanceof ProtocolError ? error : new ProtocolError(String(error), Code.LOST);
      if (fault !== error && !driver.dropped) console.warn("edge: there is no key yet:", fault.message);
      driver.lost(fault.code, fault.message, { explained: true });
    }
    if (driver.dropped) return;
    // if no welcome comes soon after a lost connection, the server is probably at fault, not the transport: wait less
    const explained = this.#attempt > 0 && this.#attempt <= AGAIN_ATTEMPTS && this.welcome !== null;
    driver.open(kind, this.#address, explained, () => {
      const [received, since] = this.#seated ? [this.#buffer.counts.received, this.#since] : [null, null];
      this.#hellos += 1;
      return { ...this.#hello, key, client: this.#client, attempt: this.#hellos, received, since };
    });
  }

  /** @param {Welcome} welcome @param {ConnectionDriver} driver */
  #welcomed(welcome, driver) {
    const wasOutdated = this.outdated;
    this.welcome = welcome;
    this.#openedAt = seconds();
    this.#buffer.maxBytes = welcome.message_bytes ?? this.#buffer.maxBytes;
    this.#key.noteWelcome();
    this.#page.noteWelcome();
    this.#fallback.noteWelcome(Date.now() / 1000);
    clearTimeout(this.#probeTimer);
    this.#probeLater();
    if (!welcome.resumed) {
      this.#loseSeat();
      this.#since = this.#hellos;
    }
    this.#seated = true;
    driver.replay(); // before a handler can send further frames
    this.#setStatus("open");
    driver.writeLatest();
    this.#listener.tell("$welcome", welcome);
    this.#hello.vocabulary ||= welcome.vocabulary;
    if (this.outdated && !wasOutdated) this.#listener.tell("$outdated", welcome.vocabulary);
  }

  #probeLater() {
    const upward = this.#fallback.upwardSeconds;
    if (upward < Infinity) this.#probeTimer = after(upward, () => this.#probe());
  }

  /** Try a WebSocket. If it opens, connect again with a WebSocket. */
  #probe() {
    const driver = this.#driver;
    this.#fallback.noteProbe();
    probeWebSocket(this.#address, () => {
      if (driver === null || driver.dropped) return;
      this.#fallback.climb();
      this.#drop(Code.LOST, "a better transport");
      this.#setStatus("away");
      this.#connect();
    }, () => {
      if (driver !== null && !driver.dropped) this.#probeLater();
    });
  }

  /** Drop the unacknowledged frames, because there are too many of them. The seat then starts fresh. */
  #giveUp() {
    const message = `${this.waiting} messages were not acknowledged, and may be lost`;
    this.#forgetSeat();
    this.#listener.problem("behind", message);
    if (this.status === "open") this.#driver?.lost(Code.BEHIND, message, { explained: true });
  }

  /** Handle the end of the connection: reconnect or close, as the code requires. @param {number} code @param {string} reason @param {import("./driver.js").EndDetails} [details] */
  #lost(code, reason, { explained = false, unconfirmed = false, where = "" } = {}) {
    const opened = this.#driver?.state !== "silent";
    const welcomed = this.#driver?.state === "open"; // also true after a welcome that contradicts earlier acks, because the server has lost the seat
    this.#redirect(where);
    this.#drop(code, reason);
    if (this.#mayBeAnother(code)) {
      this.#loseSeat();
      this.#setAway();
      this.#connect();
      return;
    }
    const retry = this.#key.missing && code === Code.KEY_INVALID ? "resume" : retryAfter(code);
    if (retry === "never" || (code === Code.KEY_EXPIRED && !this.#key.renewable)) {
      this.close(unconfirmed ? { code, reason, unconfirmed } : { code, reason });
      return;
    }
    const lasted = this.#openedAt > 0 ? seconds() - this.#openedAt : null;
    const blamed = !explained && (code < 4000 || code === Code.LOST || code === Code.SILENT);
    const atOnce = blamed && this.#fallback.noteEnd(lasted, opened);
    if (blamed || code === Code.SILENT) this.#address = this.#url;
    if (retry === "fresh" && (welcomed || lasted !== null)) this.#loseSeat(); // without a welcome, the code does not describe the seat
    this.#setAway();
    if (lasted !== null && lasted > STABLE_SECONDS) this.#attempt = 0;
    this.#openedAt = 0;
    const longest = atOnce ? 0 : Math.min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** this.#attempt);
    this.#attempt += atOnce ? 0 : 1;
    this.#retryTimer = after(Math.random() * longest, () => this.#connect()); // full jitter, so that many pages do not reconnect at once
  }

  /** Return true if this seat is lost, but the page may take a new seat at once, with a new key or a new client name. @param {number} code */
  #mayBeAnother(code) {
    if (this.#key.noteRefusal(code)) return true;
    if (code !== Code.REPLACED || !this.#page.restored) return false;
    this.#page.restored = false; // another page took the seat while this page was in the browser's cache: take the seat back
    this.#client = randomName();
    return true;
  }

  /** Use this address of the room until a connection to it breaks. @param {string} where empty if the server sent no address */
  #redirect(where) {
    if (where === "") return;
    try {
      const there = new URL(where.replace(/^ws/, "http"));
      const [from, to] = [new URL(this.#url).protocol, there.protocol];
      if (to === "https:" || (to === "http:" && from === "http:")) this.#address = there.href;
    } catch {
      console.error(`edge: the room's address is not a URL: ${where}`);
    }
  }

  /** Drop the unacknowledged frames of a lost seat. Frames that were sent before there was a seat stay stored. */
  #loseSeat() {
    if (this.#seated) this.#forgetSeat();
  }

  #forgetSeat() {
    this.#seated = false;
    this.#buffer.startFresh();
    this.#listener.seatLost("the seat was lost");
  }

  /** @param {number} code @param {string} reason */
  #drop(code, reason) {
    clearTimeout(this.#probeTimer);
    clearTimeout(this.#retryTimer);
    this.#driver?.drop(code, reason);
    this.#driver = null;
  }

  /** Send a goodbye, because the user leaves the page. Otherwise, the server would notice the end of an HTTP transport late. */
  #pause() {
    this.#drop(Code.LOST, "the page was left");
    this.#setAway();
  }

  /** Check the connection. Without a connection, connect now if the network may work again. @param {boolean} mayBeBetter */
  #check(mayBeBetter) {
    if (this.#driver !== null) {
      this.#driver.check();
    } else if (this.ending === null && mayBeBetter) {
      clearTimeout(this.#retryTimer);
      this.#connect();
    }
  }

  #setAway() {
    this.#setStatus(this.welcome === null ? "connecting" : "away");
  }

  /** @param {Status} status */
  #setStatus(status) {
    if (this.status === status) return;
    this.status = status;
    this.#listener.tell("$status", status);
  }
}
