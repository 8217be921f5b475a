// @ts-check
import { Clock } from "./clock.js";
import { ACK_SECONDS, CHECK_SECONDS, CLOCK_SECONDS, CONVERSATION, Code, LIMITS, MAX_PINGED, SENDER, VERSION } from "./constants.js";
import { bytesOf, decode, encode, ProtocolError } from "./wire.js";

/** @typedef {import("./counts.js").Counts} Counts */
/** @typedef {import("./wire.js").Message} Message */
/** @typedef {import("./wire.js").Welcome} Welcome */

/**
 * The connection machine: the protocol's rules for one transport, without a socket and without a clock. Its methods take frames
 * and times (in seconds), and return messages and frames. The same test vectors test this class and the Python class.
 */
export class Connection {
  /** @type {import("./constants.js").ConnectionState} */
  #state = "silent";
  #helloAt;
  #lastReceivedAt;
  /** The time in the ping that the next ack answers. @type {number | null} */
  #asked = null;
  /** The times in the unanswered pings. @type {number[]} */
  #pinged = [];
  #pingWait = Infinity;
  /** The current check: the time at which it began, and the time in its ping. @type {{since: number, ping: number} | null} */
  #checking = null;
  #ackDue = Infinity;
  #pingDue = Infinity;
  #ackedToPeer = 0;
  #bytesSinceAck = 0;
  #ackFrames = LIMITS.ackFrames;
  #ackBytes = LIMITS.ackBytes;
  #resuming = false;
  #heartbeat = LIMITS.heartbeat;
  #deadAfter = LIMITS.deadAfter;

  /** @param {Counts} counts @param {number} now @param {Clock} [clock] the estimate of the room's clock */
  constructor(counts, now, clock = new Clock()) {
    this.counts = counts;
    this.clock = clock;
    this.#helloAt = this.#lastReceivedAt = now;
  }

  get state() { return this.#state; }

  /**
   * Return the frame of the hello.
   * @param {{name: string, key: string | null, client: string, attempt: number, received: number | null, since: number | null, vocabulary?: string, options?: object, create?: string}} hello
   * @param {number} now @returns {string}
   */
  hello({ name, key, client, attempt, received, since, vocabulary = "", options, create }, now) {
    this.#advance("hello", "client");
    this.#helloAt = now;
    this.#resuming = received !== null;
    return encode(["$hello", { version: VERSION, name, key, client, attempt, received, since, vocabulary, options, create }]);
  }

  /** Return the frame of a goodbye. @param {number} code @param {string} reason @returns {string} */
  bye(code, reason) {
    this.#advance("bye", "client");
    return encode(["$bye", { code, reason }]);
  }

  /** Process a received frame. Return its message, or null for an ack, a ping after the welcome, or a frame after a goodbye. @param {string} frame @param {number} now @returns {Message | null} */
  receive(frame, now) {
    this.#lastReceivedAt = Math.max(this.#lastReceivedAt, now);
    if (this.#state === "closed") return null;
    const message = decode(frame);
    this.#advance(message.kind, "server");
    if (message.kind === "ack") return this.#acknowledged(message, now);
    if (message.kind === "ping") return this.#state === "open" ? this.#pingedBy(message, now) : message;
    if (message.kind === "welcome") this.#open(message.welcome, now);
    else if (message.kind !== "bye" && !("counted" in message && !message.counted)) this.#countReceived(bytesOf(frame), now);
    return message;
  }

  /** Start a series of more frequent pings, to measure the room's clock. @param {number} now @returns {boolean} true if this call started a series */
  askClock(now) {
    if (this.#state !== "open" || this.#pingWait < Infinity) return false;
    [this.#pingDue, this.#pingWait] = [now, CLOCK_SECONDS];
    return true;
  }

  /**
   * Make a ping due now, because the server may be gone. Until the answer, three seconds without a frame end the connection.
   * @param {number} now @returns {boolean} true if this call began a check
   */
  check(now) {
    if (this.#state !== "open" || this.#checking !== null) return false;
    this.#checking = { since: now, ping: tenthsOfMilliseconds(now) };
    this.#pingDue = now;
    return true;
  }

  /** The time at which the connection ends, unless a frame arrives earlier. */
  get #deadAt() {
    const checked = this.#checking === null ? Infinity : Math.max(this.#checking.since, this.#lastReceivedAt) + CHECK_SECONDS;
    return Math.min(this.#lastReceivedAt + this.#deadAfter, checked);
  }

  /** The next time at which `due` must be called. */
  get nextDue() {
    return this.#state === "open" ? Math.min(this.#ackDue, this.#pingDue, this.#deadAt) : Infinity;
  }

  /** Return the acks and pings that are due. The caller must first write all frames that `counts` has recorded, because a ping contains their number. @param {number} now */
  due(now) {
    /** @type {string[]} */
    const frames = [];
    if (this.#state !== "open") return frames;
    if (now >= this.#deadAt) throw new ProtocolError(`no frame received for ${Math.round(now - this.#lastReceivedAt)} s`, Code.SILENT);
    if (now >= this.#ackDue) {
      this.#ackedToPeer = this.counts.received;
      this.#bytesSinceAck = 0;
      this.#ackDue = Infinity;
      const answer = this.#asked === null ? [] : [this.#asked, tenthsOfMilliseconds(now)];
      this.#asked = null;
      frames.push(JSON.stringify(["$ack", this.counts.received, ...answer]));
    }
    if (now >= this.#pingDue) {
      this.#pingDue = now + Math.min(this.#pingWait, this.#heartbeat);
      this.#pingWait *= 2;
      this.#pinged = [...this.#pinged, tenthsOfMilliseconds(now)].slice(-MAX_PINGED);
      frames.push(JSON.stringify(["$ping", this.counts.sent, tenthsOfMilliseconds(now)]));
    }
    return frames;
  }

  /** @param {Message["kind"] | "hello"} kind @param {"client" | "server"} sender */
  #advance(kind, sender) {
    const next = CONVERSATION[this.#state]?.[kind];
    if (next === undefined || (SENDER[kind] ?? sender) !== sender) throw new ProtocolError(`the ${sender} sent ${kind} in state ${this.#state}`);
    this.#state = next;
  }

  /** @param {Welcome} welcome @param {number} now */
  #open(welcome, now) {
    if (!welcome.resumed) this.clock.restart();
    this.clock.note(this.#helloAt, welcome.now ?? 0, now);
    if (this.#resuming && !welcome.resumed) this.counts.startFresh();
    this.counts.acknowledge(welcome.received);
    this.#ackedToPeer = this.counts.received;
    this.#heartbeat = welcome.heartbeat;
    this.#deadAfter = welcome.dead_after;
    this.#ackFrames = welcome.ack_frames ?? this.#ackFrames;
    this.#ackBytes = welcome.ack_bytes ?? this.#ackBytes;
    this.#pingDue = now + this.#heartbeat;
  }

  /** @param {Message & {kind: "ack"}} message @param {number} now */
  #acknowledged({ count, asked, told }, now) {
    this.counts.acknowledge(count);
    if (asked !== undefined && told !== undefined && this.#pinged.includes(asked)) {
      this.#pinged = this.#pinged.filter((each) => each !== asked);
      if (this.#checking !== null && asked >= this.#checking.ping) this.#checking = null;
      this.clock.note(asked, told, now);
    }
    return null;
  }

  /** @param {Message & {kind: "ping"}} message @param {number} now */
  #pingedBy({ count, asked }, now) {
    const { received } = this.counts;
    if (count !== received) throw new ProtocolError(`${count} frames were sent, but ${received} arrived`, Code.MISCOUNT);
    this.#ackDue = now;
    this.#asked = asked ?? null;
    return null;
  }

  /** @param {number} size in bytes @param {number} now */
  #countReceived(size, now) {
    this.counts.received += 1;
    this.#bytesSinceAck += size;
    const many = this.counts.received - this.#ackedToPeer >= this.#ackFrames || this.#bytesSinceAck >= this.#ackBytes;
    this.#ackDue = many ? now : Math.min(this.#ackDue, now + ACK_SECONDS);
  }
}

/** A time, rounded down to a tenth of a millisecond. @param {number} time */
function tenthsOfMilliseconds(time) {
  return Math.floor(time * 10_000) / 10_000;
}
