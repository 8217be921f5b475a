// @ts-check
/**
 * edge's client for browsers: one ES module, no build step.
 *
 *     import { join } from "./edge.js";
 *     const room = join("rooms/drawing/one", { name: "ana" });
 *     room.on("turn:started", (event) => ...);
 *     room.send("turn:done", { drawing });
 *
 * It goes over WebSocket, and where that can't pass, over plain HTTP: `edge-http.js`, beside this file, is loaded then.
 * The protocol is described in docs/wire.md. `Connection` is its machine, without a socket or a clock, and runs the
 * same test vectors as the one in Python.
 */

/** @typedef {"reliable" | "latest" | "volatile"} Delivery */
/** @typedef {"connecting" | "open" | "away" | "closed"} State */
/** @typedef {{code: number, reason: string, unconfirmed?: boolean}} Ending `unconfirmed`: another server may go on with the room */
/** @typedef {"websocket" | "stream" | "poll"} Kind */
/** @typedef {{resumed: boolean, why: string, received: number, number: number, guest?: boolean, heartbeat: number, dead_after: number, ack_frames?: number, ack_bytes?: number, now?: number, message_bytes?: number, vocabulary?: string}} Welcome */
/** @typedef {{name: string, body: any}} Answer */
/** @typedef {{signal?: AbortSignal, seconds?: number}} RequestOptions */
/** @typedef {string | (() => string | Promise<string>)} Key */
/** A key that the server gave, and when to ask for a newer one. @typedef {{key: string | null, renewAt: number}} Given */
/** @typedef {{idle: boolean, send: (frame: string) => void, close: (code: number, reason: string) => void}} Transport */
/** @typedef {{problem: string, message: string, about: string}} Refusal */
/**
 * @typedef {{kind: "event", name: string, body: any} | {kind: "request", name: string, body: any, id: number, seconds: number | null}
 *   | {kind: "reply", name: string, body: any, id: number} | {kind: "part", name: string, body: any, id: number}
 *   | {kind: "cancel", id: number}
 *   | {kind: "error", problem: string, message: string, about: string, id: number | null}
 *   | {kind: "welcome", welcome: Welcome} | {kind: "bye", code: number, reason: string, where: string, unconfirmed: boolean}} Message
 */

export const VERSION = 1;

/** Codes of `bye` and of WebSocket's close that this client itself says; the rest it judges by their hundreds. */
export const Code = Object.freeze({
  LOST: 4000, SILENT: 4002, KEY_EXPIRED: 4004, MISCOUNT: 4101, BEHIND: 4102, LEFT: 4200, MALFORMED: 4202,
  TOO_LARGE: 4203, KEY_INVALID: 4205, REPLACED: 4220,
});

const ACK_SECONDS = 0.5;
const CLOCK_SECONDS = 0.25; // how long after the first question for the room's clock the next comes; then twice as long each time
const CLOCK_SAMPLES = 8;
const CLOCK_SLEW = 0.1; // how fast what is shown follows a better guess, in seconds a second
const CLOCK_JUMP = 1; // a guess that is this much better is taken at once
const CLOCK_DRIFT = 0.02; // by how much two answers may contradict each other; by more, and one of the clocks was set, or slept
const MAX_PINGED = 8; // pings without their answers; what else is answered was never asked
const WINDOW_FRAMES = 2048;
const WINDOW_BYTES = 512 * 1024;
const MAX_NAME_BYTES = 512; // as JSON
const CHECK_SECONDS = 3; // how long a connection that is checked may be silent
/** How long a welcome may take: a proxy may accept a connection and then hold what it carries. */
const WELCOME_SECONDS = { websocket: 5, stream: 5, poll: 10 };
const AGAIN_SECONDS = 4; // the same for the first two attempts after a connection that was lost
const MAX_REPORTED = 256; // names of events without a handler
const MAX_STRIKES = 2; // so many connections in a row that did not last, and the next kind is tried
// When to try a better kind again, where it could not be opened: soon, for that may have been the server's; and where it was
// opened, and then carried nothing: later, for trying it costs. Twice as late each time.
const UPWARD_SECONDS = 10;
const HELD_SECONDS = 300;
const MAX_UPWARD_SECONDS = 3600;
const PROBE_SECONDS = 10;
const KEY_SECONDS = 4; // how long a request for a key may take, and then it is made again
const MAX_UNANSWERED = 4; // so many of them without an answer, and the page goes on without a key: posts may not pass here
const KEY_FUNCTION_SECONDS = 20; // how long the page's own function may take to give one
const RENEWAL_SECONDS = 5; // how long after a renewal that failed comes the next
const COPY_SECONDS = 0.15; // how long to wait for a page that has the key of which this tab may have a copy
const SHORTEST_WAIT = 0.5;
const LONGEST_WAIT = 30;
const STABLE_SECONDS = 5; // a connection that lasted this long makes the next wait short again

/** What to do after a code: come back to the seat, come back fresh, or stay away. @param {number} code */
export function retryAfter(code) {
  const hundred = Math.floor(code / 100);
  if (hundred === 42 || code === 1009) return "never";
  return hundred === 41 ? "fresh" : "resume";
}

/** The protocol's rules were broken; `code` is the goodbye. */
export class ProtocolError extends Error {
  /** @param {string} message @param {number} [code] */
  constructor(message, code = Code.MALFORMED) {
    super(message);
    this.code = code;
  }
}

/** A request was answered with an error. */
export class RequestFailed extends Error {
  /** @param {string} problem @param {string} message */
  constructor(problem, message) {
    super(message);
    this.name = "RequestFailed";
    this.problem = problem;
  }
}

/** What both sides remember across connections. */
export class Counts {
  constructor() {
    this.sent = 0;
    this.received = 0;
    /** @type {string[]} */
    this.unacked = [];
    this.bytes = 0;
  }

  get acked() { return this.sent - this.unacked.length; }
  get overflowed() { return this.unacked.length > WINDOW_FRAMES || this.bytes > WINDOW_BYTES; }

  /** @param {string} frame */
  record(frame) {
    this.sent += 1;
    this.unacked.push(frame);
    this.bytes += bytesOf(frame);
  }

  /** @param {number} count */
  acknowledge(count) {
    if (count < this.acked || count > this.sent) {
      throw new ProtocolError(`acknowledged ${count} of ${this.sent} frames, ${this.acked} before`, Code.MISCOUNT);
    }
    for (const frame of this.unacked.splice(0, count - this.acked)) this.bytes -= bytesOf(frame);
  }

  startFresh() {
    this.sent = this.received = this.bytes = 0;
    this.unacked = [];
  }
}

/** The room's clock: what its answers to pings say of it, and how long they took. The best of the last few is believed. */
export class Clock {
  /** How many seconds the newest answer took. @type {number | null} */
  roundTrip = null;
  /** @type {{took: number, offset: number}[]} */
  #samples = [];
  /** @type {number | null} */
  #offset = null;
  #readAt = 0;

  restart() {
    this.roundTrip = this.#offset = null;
    this.#samples = [];
  }

  /** It was asked at `asked`, and says at `now` that it showed `told`. @param {number} asked @param {number} told @param {number} now */
  note(asked, told, now) {
    const [took, offset] = [Math.max(0, now - asked), told - (asked + now) / 2];
    const agreeing = this.#samples.filter((each) => Math.abs(each.offset - offset) <= (each.took + took) / 2 + CLOCK_DRIFT);
    this.roundTrip = took;
    this.#samples = [...agreeing, { took, offset }].slice(-CLOCK_SAMPLES);
  }

  /** What it shows now. It goes on evenly, whatever is learned. @param {number} now */
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

/** One transport's life, as a machine: frames and times (in seconds) in, messages and frames out. */
export class Connection {
  /** @param {Counts} counts @param {number} now @param {Clock} [clock] the room's */
  constructor(counts, now, clock = new Clock()) {
    this.counts = counts;
    this.clock = clock;
    this.helloAt = now;
    /** What the ping that is to be answered said. @type {number | null} */
    this.asked = null;
    /** What pings without an answer said. @type {number[]} */
    this.pinged = [];
    this.pingWait = Infinity;
    /** While the peer is to show that it is there: since when, by this clock and as its ping says it. @type {{since: number, ping: number} | null} */
    this.checking = null;
    /** @type {"silent" | "greeted" | "open" | "closed"} */
    this.state = "silent";
    this.heardAt = now;
    this.ackDue = Infinity;
    this.pingDue = Infinity;
    this.ackedToPeer = 0;
    this.bytesSinceAck = 0;
    this.ackFrames = 32;
    this.ackBytes = 64 * 1024;
    this.resuming = false;
    this.heartbeat = 20;
    this.deadAfter = 30;
  }

  /**
   * @param {{name: string, key: string | null, client: string, attempt: number, received: number | null, since: number | null, vocabulary?: string}} hello
   * @param {number} now @returns {string}
   */
  hello({ name, key, client, attempt, received, since, vocabulary = "" }, now) {
    if (this.state !== "silent") throw new ProtocolError(`hello while ${this.state}`);
    this.state = "greeted";
    this.helloAt = now;
    this.resuming = received !== null;
    return encode(["$hello", { version: VERSION, name, key, client, attempt, received, since, vocabulary }]);
  }

  /** @param {number} code @param {string} reason @returns {string} */
  bye(code, reason) {
    if (this.state === "closed") throw new ProtocolError("bye while closed");
    this.state = "closed";
    return encode(["$bye", { code, reason }]);
  }

  /** Read one frame; null for what is dealt with here. @param {string} frame @param {number} now @returns {Message | null} */
  receive(frame, now) {
    this.heardAt = Math.max(this.heardAt, now);
    if (this.state === "closed") return null;
    const [name, body, id, seconds] = parse(frame);
    if (name[0] === "$") return this.#control(name, body, now, id, seconds);
    if (this.state !== "open") throw new ProtocolError(`${name} while ${this.state}`);
    if (name[0] === "~") return { kind: "event", name: name.slice(1), body };
    this.#countReceived(bytesOf(frame), now);
    if (name[0] === "=" && id !== undefined) return { kind: "reply", name: name.slice(1), body, id };
    if (name[0] === "+" && id !== undefined) return { kind: "part", name: name.slice(1), body, id };
    if (name[0] === "-" && id !== undefined) return { kind: "cancel", id };
    if (name[0] === "!") {
      const { message = "", about = "" } = body ?? {};
      return { kind: "error", problem: name.slice(1), message, about, id: id ?? null };
    }
    return id === undefined ? { kind: "event", name, body } : { kind: "request", name, body, id, seconds: seconds ?? null };
  }

  /** Ping more often for a while, to know the room's clock well: whether this call began that. @param {number} now */
  askClock(now) {
    if (this.state !== "open" || this.pingWait < Infinity) return false;
    [this.pingDue, this.pingWait] = [now, CLOCK_SECONDS];
    return true;
  }

  /**
   * It may have died unnoticed: ping at once, and expect a sign of life soon, until the ping is answered.
   * @param {number} now @returns {boolean} whether this call began that
   */
  check(now) {
    if (this.state !== "open" || this.checking !== null) return false;
    this.checking = { since: now, ping: tenthsOfMilliseconds(now) };
    this.pingDue = now;
    return true;
  }

  /** When it is given up if nothing is heard before. */
  get #deadAt() {
    const checked = this.checking === null ? Infinity : Math.max(this.checking.since, this.heardAt) + CHECK_SECONDS;
    return Math.min(this.heardAt + this.deadAfter, checked);
  }

  /** When to call `due` again at the latest. */
  get nextDue() {
    return this.state === "open" ? Math.min(this.ackDue, this.pingDue, this.#deadAt) : Infinity;
  }

  /** The acks and pings whose time has come; what was recorded must be written before them. @param {number} now */
  due(now) {
    /** @type {string[]} */
    const frames = [];
    if (this.state !== "open") return frames;
    if (now >= this.#deadAt) throw new ProtocolError(`silent for ${Math.round(now - this.heardAt)} s`, Code.SILENT);
    if (now >= this.ackDue) {
      this.ackedToPeer = this.counts.received;
      this.bytesSinceAck = 0;
      this.ackDue = Infinity;
      const answer = this.asked === null ? [] : [this.asked, tenthsOfMilliseconds(now)];
      this.asked = null;
      frames.push(JSON.stringify(["$ack", this.counts.received, ...answer]));
    }
    if (now >= this.pingDue) {
      this.pingDue = now + Math.min(this.pingWait, this.heartbeat);
      this.pingWait *= 2;
      this.pinged = [...this.pinged, tenthsOfMilliseconds(now)].slice(-MAX_PINGED);
      frames.push(JSON.stringify(["$ping", this.counts.sent, tenthsOfMilliseconds(now)]));
    }
    return frames;
  }

  /**
   * @param {string} name @param {any} body @param {number} now
   * @param {number} [asked] @param {number} [told] of a ping, or its answer @returns {Message | null}
   */
  #control(name, body, now, asked, told) {
    if (name === "$bye") {
      this.state = "closed";
      return { kind: "bye", code: Number(body?.code), reason: String(body?.reason ?? ""), where: String(body?.where ?? ""),
        unconfirmed: body?.unconfirmed === true };
    }
    if (name === "$welcome" && this.state === "greeted") {
      this.state = "open";
      if (!body.resumed) this.clock.restart();
      this.clock.note(this.helloAt, body.now ?? 0, now);
      if (this.resuming && !body.resumed) this.counts.startFresh();
      this.counts.acknowledge(body.received);
      this.ackedToPeer = this.counts.received;
      this.heartbeat = body.heartbeat;
      this.deadAfter = body.dead_after;
      this.ackFrames = body.ack_frames ?? this.ackFrames;
      this.ackBytes = body.ack_bytes ?? this.ackBytes;
      this.pingDue = now + this.heartbeat;
      return { kind: "welcome", welcome: body };
    }
    if (this.state !== "open") throw new ProtocolError(`${name} while ${this.state}`);
    if (name === "$ack") {
      this.counts.acknowledge(body);
      if (asked !== undefined && told !== undefined && this.pinged.includes(asked)) {
        this.pinged = this.pinged.filter((each) => each !== asked);
        if (this.checking !== null && asked >= this.checking.ping) this.checking = null;
        this.clock.note(asked, told, now);
      }
    } else if (name === "$ping") {
      if (body !== this.counts.received) {
        throw new ProtocolError(`peer sent ${body} frames, ${this.counts.received} arrived`, Code.MISCOUNT);
      }
      this.ackDue = now;
      this.asked = asked ?? null;
    } else {
      throw new ProtocolError(`${name} while ${this.state}`);
    }
    return null;
  }

  /** @param {number} size in bytes @param {number} now */
  #countReceived(size, now) {
    this.counts.received += 1;
    this.bytesSinceAck += size;
    const many = this.counts.received - this.ackedToPeer >= this.ackFrames || this.bytesSinceAck >= this.ackBytes;
    this.ackDue = many ? now : Math.min(this.ackDue, now + ACK_SECONDS);
  }
}

/** @param {string} frame @returns {[string, any, number | undefined, number | undefined]} */
function parse(frame) {
  let plain;
  try {
    plain = JSON.parse(frame);
  } catch {
    throw new ProtocolError("not JSON");
  }
  const [name, body, id, seconds] = Array.isArray(plain) ? plain : [];
  const wellFormed = typeof name === "string" && name !== "" && 2 <= plain.length && plain.length <= 4;
  const number = name?.[0] === "$" ? Number.isFinite : Number.isInteger;
  if (!wellFormed || (id !== undefined && !number(id))) throw new ProtocolError("not a message");
  return [name, body, id, seconds];
}

/** Which transport to try: WebSocket, else a stream, else polling. Judged end to end, remembered, tried upward later. */
export class TransportFallback {
  #strikes = 0;
  #rung = 0;
  #kinds;
  #memory;
  #upward = UPWARD_SECONDS;

  /** @param {Kind[]} kinds best first @param {string} memory under what to remember it @param {number} now in seconds since the epoch */
  constructor(kinds, memory, now) {
    this.#kinds = kinds;
    this.#memory = memory;
    const [kind, until] = recall("localStorage", memory).split(" ");
    if (Number(until) > now) this.#rung = Math.max(0, kinds.indexOf(/** @type {Kind} */ (kind)));
  }

  get kind() { return this.#kinds[this.#rung]; }

  /** How long after its welcome a connection should make way for a better kind. */
  get upwardSeconds() {
    return this.#rung > 0 && this.#kinds[0] === "websocket" ? this.#upward : Infinity; // a probe opens nothing else
  }

  /** There was a welcome. @param {number} now */
  welcomed(now) {
    if (this.#kinds.length === 1) return;
    remember("localStorage", this.#memory, this.#rung === 0 ? "" : `${this.kind} ${now + this.#upward}`);
  }

  /**
   * A connection has broken, so many seconds after its welcome, or without one: whether to try another kind at once.
   * @param {number | null} lasted @param {boolean} opened whether there was a connection, whatever came over it
   */
  ended(lasted, opened) {
    if (opened && lasted === null && this.#rung === 0) this.#upward = Math.max(this.#upward, HELD_SECONDS);
    if (lasted !== null && lasted >= STABLE_SECONDS) {
      this.#strikes = 0;
      if (this.#rung === 0) this.#upward = UPWARD_SECONDS;
      return false;
    }
    this.#strikes = lasted === null ? MAX_STRIKES : this.#strikes + 1;
    if (this.#strikes < MAX_STRIKES) return false;
    this.#strikes = 0;
    this.#rung = (this.#rung + 1) % this.#kinds.length;
    return this.#rung > 0;
  }

  /** A better kind is being tried: if it does not do, wait longer for the next time. */
  noteProbe() { this.#upward = Math.min(2 * this.#upward, MAX_UPWARD_SECONDS); }

  /** Use the best kind from now on. */
  climb() { this.#rung = this.#strikes = 0; }
}

/** WebSocket as a transport. @implements {Transport} */
class WebSocketTransport {
  #socket;

  /** @param {string} url @param {() => void} open @param {import("./edge-http.js").Listener} on */
  constructor(url, open, on) {
    const socket = new WebSocket(url.replace("http", "ws"), `edge.${VERSION}.json`);
    this.#socket = socket;
    socket.onopen = open;
    socket.onmessage = ({ data }) => on.frame(String(data));
    socket.onclose = ({ code, reason }) => on.close(code, reason);
  }

  get idle() { return this.#socket.bufferedAmount === 0; }

  /** @param {string} frame */
  send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  /** @param {number} code @param {string} reason */
  close(code, reason) {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(4000 <= code && code < 5000 ? code : 1000, reason.slice(0, 40));
  }
}

/** The keys that this page was given, by server and by who keeps them, and those that are being renewed. @type {Map<string, Promise<Given>>} */
const keys = new Map();

/**
 * The key of this browser's session, which its pages share by a cookie, or of this tab's alone. Null if the server gives
 * none: then the session is the room's own.
 * @param {string} server its address, as of its `/session` @param {"browser" | "tab"} whose
 * @param {string | null} refused a key that is known to be no good
 * @returns {Promise<Given>} fails with a `ProtocolError` if this page may have none, and with another error if it could not ask
 */
async function givenKey(server, whose, refused) {
  const [kept, known] = [`edge ${server}`, `${whose} ${server}`];
  const before = keys.get(known);
  if (before !== undefined && refused !== null && (await before).key === refused && keys.get(known) === before) {
    keys.delete(known); // unless another room of this page has seen to it
    if (recall("sessionStorage", kept) === refused) remember("sessionStorage", kept, "");
  }
  const found = keys.get(known) ?? (whose === "tab" ? tabKey(server) : askKey(server, whose, ""));
  keys.set(known, found);
  found.then(({ key }) => key === null && keys.delete(known), () => keys.delete(known));
  return found;
}

/** A newer key of the same session: rooms of this page share it. @param {string} server @param {"browser" | "tab"} whose @param {string} key @returns {Promise<Given>} */
async function renewedKey(server, whose, key) {
  const [known, renewal] = [`${whose} ${server}`, `renewal ${key}`];
  const running = keys.get(renewal) ?? askKey(server, whose, key);
  keys.set(renewal, running);
  const given = await running.finally(() => keys.delete(renewal));
  if (given.key === null) throw new Error(`${server} gives no keys any more`);
  if ((await keys.get(known))?.key === key) keys.set(known, running);
  if (whose === "tab") keepTabKey(server, given.key);
  return given;
}

/** The key that this tab has kept, unless it is a copy's, or a new one; the same for all frames of the tab. @param {string} server @returns {Promise<Given>} */
async function tabKey(server) {
  const [kept, asking] = [`edge ${server}`, `edge asking ${server}`];
  for (;;) {
    const before = recall("sessionStorage", kept);
    if (before && (await copies.claim(before))) {
      try {
        const given = await askKey(server, "tab", before);
        keepTabKey(server, given.key);
        return given;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error; // it was too old, or another server's
      }
    }
    if (recall("sessionStorage", kept) !== before) continue; // another frame has a new one
    if (Date.now() - Number(recall("sessionStorage", asking)) < KEY_SECONDS * 1000) { // another frame asks for one
      await new Promise((resolve) => after(COPY_SECONDS, () => resolve(undefined)));
      continue;
    }
    remember("sessionStorage", asking, String(Date.now()));
    try {
      const given = await askKey(server, "tab", "");
      keepTabKey(server, given.key);
      return given;
    } finally {
      remember("sessionStorage", asking, "");
    }
  }
}

/** @param {string} server @param {string | null} key */
function keepTabKey(server, key) {
  remember("sessionStorage", `edge ${server}`, key ?? "");
  if (key !== null) copies.have(key);
}

/** @param {string} server @param {"browser" | "tab"} whose @param {string} borne the key there is, if any @returns {Promise<Given>} */
async function askKey(server, whose, borne) {
  /** @type {Record<string, string>} */
  const headers = { "edge-session": whose };
  if (borne) headers.authorization = `Bearer ${borne}`;
  const credentials = whose === "tab" ? "omit" : "include";
  const signal = AbortSignal.timeout(KEY_SECONDS * 1000);
  const response = await fetch(`${server}/session`, { method: "POST", headers, credentials, signal });
  if ([404, 405, 501].includes(response.status)) {
    console.warn(`edge: there is no ${server}/session, so this page is somebody else each time it is loaded`);
    return { key: null, renewAt: Infinity };
  }
  const body = await response.json().catch(() => ({})); // a proxy's page is none
  if (response.ok && typeof body.key === "string") {
    return { key: body.key, renewAt: Date.now() / 1000 + Math.max(1, body.renew_after ?? Infinity) };
  }
  const code = Number(response.headers.get("edge-code"));
  if (code === Code.KEY_EXPIRED || retryAfter(code) === "never") throw new ProtocolError(String(body.message), code);
  throw new Error(`POST ${server}/session was answered with ${response.status}`);
}

/**
 * Pages of this origin tell each other which keys of tabs are theirs. Browsers copy what a tab keeps into one that is
 * duplicated, or opened by a page of it; and the copy is somebody else.
 */
class Copies {
  /** Those of this page, by their last letters; and while it asks for one, the question, which is random. @type {Map<string, string>} */
  #mine = new Map();
  /** What ends the questions that were answered. @type {Map<string, () => void>} */
  #asked = new Map();
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /** Whether the key that this tab kept is its own. @param {string} key */
  async claim(key) {
    const [id, question] = [key.slice(-16), randomName()];
    if (this.#mine.get(id) === "") return true;
    this.#mine.set(id, question);
    this.#listen();
    this.#channel?.postMessage({ id, question });
    const copied = await new Promise((resolve) => {
      this.#asked.set(question, () => resolve(recall("sessionStorage", "edge frame") !== question));
      after(COPY_SECONDS, () => resolve(false));
    });
    this.#asked.delete(question);
    if (copied) this.#mine.delete(id);
    else this.#mine.set(id, "");
    return !copied;
  }

  /** This page has it. @param {string} key */
  have(key) {
    this.#mine.set(key.slice(-16), "");
    this.#listen();
  }

  #listen() {
    if (this.#channel !== null) return;
    let channel;
    try {
      channel = this.#channel = new BroadcastChannel("edge tabs");
    } catch {
      return; // it is blocked with the site's data, or not known
    }
    /** @type {any} */ (channel).unref?.(); // node would wait for it
    channel.onmessage = ({ data: { id, question, answers } }) => {
      const mine = this.#mine.get(id);
      if (answers !== undefined) {
        this.#asked.get(answers)?.();
      } else if (mine !== undefined && mine < question) { // of two pages that ask at the same time, one keeps the key
        // a frame of the same tab shares this storage, and finds this: then it shares the key, too
        remember("sessionStorage", "edge frame", question);
        channel.postMessage({ id, answers: question });
      }
    };
    globalThis.addEventListener?.("pagehide", () => { // a page with an open channel would not be cached
      channel.close();
      this.#channel = null;
      globalThis.addEventListener("pageshow", () => this.#listen(), { once: true });
    }, { once: true });
  }
}

const copies = new Copies();

/** @typedef {"localStorage" | "sessionStorage"} StorageName */

/** What the browser did not let this page remember. @type {Map<string, string>} */
const remembered = new Map();

/**
 * What was remembered under a name; empty if nothing was. It never throws, where site data are blocked and `localStorage`
 * itself throws.
 * @param {StorageName} storage @param {string} name @returns {string}
 */
export function recall(storage, name) {
  try {
    return remembered.get(`${storage} ${name}`) ?? globalThis[storage].getItem(name) ?? "";
  } catch {
    return "";
  }
}

/**
 * Remember a text under a name; an empty one is forgotten. Where the browser does not allow it, or has no space, it is
 * remembered for as long as this page lives.
 * @param {StorageName} storage @param {string} name @param {string} value
 */
export function remember(storage, name, value) {
  remembered.delete(`${storage} ${name}`);
  try {
    if (value) globalThis[storage].setItem(name, value);
    else globalThis[storage].removeItem(name);
  } catch {
    if (value) remembered.set(`${storage} ${name}`, value);
  }
}

/** The answers to one request, as they come: `for await (const { name, body } of ...)`; leaving the loop stops them. */
class Replies {
  /** @type {Answer[]} */
  #answers = [];
  #ended = false;
  /** @type {Error | null} */
  #fault = null;
  #wake = () => {};
  #stop;

  /** @param {() => void} stop */
  constructor(stop) {
    this.#stop = stop;
  }

  /** @param {Answer} answer */
  give(answer) {
    this.#answers.push(answer);
    this.#wake();
  }

  /** @param {Error | null} fault */
  end(fault) {
    this.#ended = true;
    this.#fault = fault;
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const answer = this.#answers.shift();
        if (answer !== undefined) yield answer;
        else if (this.#fault !== null) throw this.#fault;
        else if (this.#ended) return;
        else await new Promise((resolve) => { this.#wake = () => resolve(undefined); });
      }
    } finally {
      this.#stop();
    }
  }
}

/**
 * One player's end of a room. Make it with `join`.
 *
 * Local happenings are told under names that no event can have: `$state` (the new state), `$welcome` (each welcome: if
 * it was not `resumed`, begin from nothing), `$outdated` (the room's events have changed since this page first joined: offer
 * a reload), `$error` (a message that the room refused; or an event for which this page has no handler, once for each name).
 * What nobody handles of `$error` is told on the console, once for each problem and name.
 */
export class Room {
  /** @type {Map<string, Set<(body: any) => void>>} */
  #handlers = new Map();
  /** @type {Map<string, (body: any, options: {signal: AbortSignal}) => any>} */
  #answers = new Map();
  /** What this page asks, and what it is asked. @type {Map<number, {part: (answer: Answer) => void, end: (answer: Answer | null, fault: Error | null) => void}>} */
  #questions = new Map();
  /** @type {Map<number, AbortController>} */
  #asked = new Map();
  /** The newest frame of each latest value, and the keys of those still to be written. @type {Map<string, string>} */
  #latest = new Map();
  /** @type {Set<string>} */
  #unwritten = new Set();
  /** @type {Transport | null} */
  #transport = null;
  /** The connection there is, or is being made. @type {Connection | null} */
  #connection = null;
  #counts = new Counts();
  #clock = new Clock();
  #requests = 0;
  /** How many failures in a row, and how many hellos in all. */
  #attempt = 0;
  #hellos = 0;
  /** What the first welcome said of the room's events: this page was made for those. */
  #vocabulary = "";
  /** The longest message that the room reads. */
  #mostBytes = 64 * 1024;
  /** Names of events that came while there was no handler for them, and what the console was told. @type {Set<string>} */
  #reported = new Set();
  #client = randomName();
  /** When to look at the clock for acks and pings; when to give up waiting for a welcome, or to try upward; when to connect again. */
  #dueTimer = 0;
  #fallbackTimer = 0;
  #retryTimer = 0;
  #seated = false;
  /** At which hello the seat was given, or given fresh. */
  #since = 0;
  /** Which seat this is, of those this room has had. */
  #seat = 0;
  #openedAt = 0;
  /** Whether a key of our own was refused, and another fetched. */
  #rekeyed = false;
  /** The key that this room was given last, and one that was refused. @type {Given} */
  #given = { key: null, renewAt: Infinity };
  /** @type {string | null} */
  #refused = null;
  /** How many requests for a key in a row had no answer; and whether this room has no key because of that. */
  #unanswered = 0;
  #unasked = false;
  /** Whether `pagehide` was fired, and nothing that follows it yet. */
  #leaving = false;
  /** Whether the page has come back from the browser's cache, and has not been welcomed since. */
  #restored = false;
  #url;
  /** The address of the server, which is in front of the room's. */
  #server;
  /** Where to connect: there, or at the server that has the room, if it said so. @type {string} */
  #at;
  #name;
  #key;
  #session;
  #fallback;

  /** @param {string} url @param {{name?: string, key?: Key, session?: "browser" | "tab", transports?: Kind[]}} options */
  constructor(url, { name = "", key, session = "browser", transports = ["websocket", "stream", "poll"] } = {}) {
    const absolute = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href); // a frame's may be about:srcdoc
    absolute.protocol = absolute.protocol.replace("ws", "http");
    absolute.hash = "";
    const path = /^(.*)\/rooms\/[^/]+\/[^/]+$/.exec(absolute.pathname);
    if (path === null) throw new TypeError(`${url} is no room: /rooms/<kind>/<name>`);
    if (!/^https?:$/.test(absolute.protocol)) throw new TypeError(`${url} is no http:, https:, ws: or wss: address`);
    if (typeof name !== "string") throw new TypeError(`a name is text, not ${name}`);
    const size = bytesOf(encode(name)) - 2; // without its quotes
    if (size > MAX_NAME_BYTES) throw new RangeError(`a name of ${size} bytes, as JSON: it may have ${MAX_NAME_BYTES}`);
    if (transports.length === 0 || transports.some((kind) => !(kind in WELCOME_SECONDS))) {
      throw new TypeError(`transports are some of ${Object.keys(WELCOME_SECONDS)}, not ${transports}`);
    }
    if (!["browser", "tab"].includes(session)) throw new TypeError(`a session is the browser's or the tab's, not ${session}`);
    this.#url = this.#at = absolute.href;
    this.#name = name;
    this.#key = key;
    this.#session = session;
    this.#server = absolute.origin + path[1];
    this.#fallback = new TransportFallback(transports, `edge transport ${this.#server}`, Date.now() / 1000);
    /** @type {State} */
    this.state = "connecting";
    /** Why it closed. @type {Ending | null} */
    this.ending = null;
    /** The newest welcome. @type {Welcome | null} */
    this.welcome = null;
    for (const [target, event, listener] of this.#life) target?.addEventListener?.(event, listener);
    this.#connect();
  }

  /** The transport that is in use, or is tried. @returns {Kind} */
  get transport() { return this.#fallback.kind; }

  /** What the room's clock shows, in seconds since it opened. The first call makes edge.js find out more about it. */
  now() {
    if (this.#connection?.askClock(seconds())) this.#schedule();
    return this.#clock.at(seconds());
  }

  /** How many seconds the newest answer to a ping took. @returns {number | null} */
  get roundTrip() { return this.#clock.roundTrip; }

  /** Whether the room's events have changed since this page first joined. Then offer a reload. */
  get outdated() { return this.#vocabulary !== "" && this.#vocabulary !== (this.welcome?.vocabulary || this.#vocabulary); }

  /** This player's number in the room, once welcomed. */
  get number() { return this.welcome?.number ?? null; }

  /** Whether nobody has vouched for this player, who has not logged in; null before the first welcome. */
  get guest() { return this.welcome?.guest ?? null; }

  /**
   * Call `handler` with the body of each event of this name; the function returned stops that.
   * @param {string} name @param {(body: any) => void} handler @returns {() => void}
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * Answer the room's questions of this name: `handler` returns `[name, body]`, or a promise of it. Its `signal` aborts when
   * the answer is not waited for any more.
   * @param {string} name @param {(body: any, options: {signal: AbortSignal}) => [string, any] | Promise<[string, any]>} handler
   */
  answer(name, handler) {
    this.#answers.set(name, handler);
  }

  /**
   * How many messages wait to be acknowledged, sent or not: 2,048 and 512 KiB at most. With one too many, none of it is
   * sent again, `$error` tells how much it was, and the seat starts fresh. Some of it may have arrived.
   */
  get waiting() { return this.#counts.unacked.length; }

  /**
   * Send the room an event. While away, reliable ones are kept, latest ones kept once a key, volatile ones dropped.
   * Half an emoji, which can't travel, becomes `\ufffd`. Throws a `RangeError` for what is larger than the room reads.
   * @param {string} name @param {object} [body] @param {{delivery?: Delivery, key?: string}} [options]
   * @returns {boolean} whether it is, or will be, on its way: false for what was dropped, and once the room is closed
   */
  send(name, body = {}, { delivery = "reliable", key = "" } = {}) {
    checkName(name);
    if (this.state === "closed") {
      this.#report({ problem: "gone", message: `the room is closed: ${this.ending?.reason}`, about: name });
      return false;
    }
    if (delivery === "reliable") {
      this.#sendCounted(this.#frame([name, body]));
      return true;
    }
    const frame = this.#frame([`~${name}`, body]);
    if (delivery === "latest") {
      this.#latest.set(`${name} ${key}`, frame);
      this.#unwritten.add(`${name} ${key}`);
      this.#writeLatest();
    } else if (this.#idle) {
      this.#transport?.send(frame);
    } else {
      return false;
    }
    return true;
  }

  /**
   * Send an event as a request: a promise of the room's answer, or of a `RequestFailed`. Aborting its `signal`, and the end
   * of its `seconds`, reach the room, too.
   * @param {string} name @param {object} [body] @param {RequestOptions} [options] @returns {Promise<Answer>}
   */
  request(name, body = {}, options = {}) {
    return new Promise((resolve, reject) => {
      const stop = this.#ask(name, body, options, (answer) => {
        resolve(answer); // one was wanted
        stop();
      }, (answer, fault) => {
        if (fault !== null) reject(fault);
        else if (answer === null || answer.name === "") reject(new RequestFailed("unanswered", "the room has no answer"));
        else resolve(answer);
      });
    });
  }

  /**
   * Send an event as a request with many answers: `for await (const { name, body } of room.stream("history"))`. Leaving the
   * loop tells the room to stop.
   * @param {string} name @param {object} [body] @param {RequestOptions} [options]
   */
  stream(name, body = {}, options = {}) {
    /** @type {() => void} */
    let stop = () => {};
    const replies = new Replies(() => stop());
    stop = this.#ask(name, body, options, (answer) => replies.give(answer), (answer, fault) => {
      if (answer !== null && answer.name !== "") replies.give(answer);
      replies.end(fault);
    });
    return replies;
  }

  /**
   * @param {string} name @param {object} body @param {RequestOptions} options @param {(answer: Answer) => void} part
   * @param {(answer: Answer | null, fault: Error | null) => void} end called once @returns {() => void} to ask no more
   */
  #ask(name, body, { signal, seconds }, part, end) {
    signal?.throwIfAborted();
    checkName(name);
    if (this.state === "closed") {
      end(null, new RequestFailed("gone", `the room is closed: ${this.ending?.reason}`));
      return () => {};
    }
    const id = this.#requests + 1;
    const frame = this.#frame(seconds === undefined ? [name, body, id] : [name, body, id, seconds]);
    this.#requests = id;
    /** @param {string} problem @param {string} text */
    const giveUp = (problem, text) => {
      const question = this.#questions.get(id);
      if (question === undefined) return;
      if (this.state !== "closed") this.#sendCounted(this.#frame(["-", null, id]));
      question.end(null, new RequestFailed(problem, text));
    };
    const abort = () => giveUp("cancelled", "it was given up");
    const timer = seconds === undefined ? 0 : after(seconds, () => giveUp("cancelled", "the time was up"));
    signal?.addEventListener("abort", abort);
    this.#questions.set(id, {
      part,
      end: (answer, fault) => {
        this.#questions.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        end(answer, fault);
      },
    });
    this.#sendCounted(frame);
    return abort;
  }

  /** Leave the room for good. */
  leave() {
    this.#close({ code: Code.LEFT, reason: "left" });
  }

  /** Whether what is sent now is written now. */
  get #idle() { return this.state === "open" && this.#transport?.idle === true; }

  #writeLatest() {
    if (this.#idle) {
      for (const key of this.#unwritten) this.#transport?.send(this.#latest.get(key) ?? "");
      this.#unwritten.clear();
    }
    this.#schedule();
  }

  async #connect() {
    const connection = new Connection(this.#counts, seconds(), this.#clock);
    const kind = this.#fallback.kind;
    this.#connection = connection;
    const listener = {
      /** @param {string} frame */
      frame: (frame) => this.#heard(connection, frame),
      /** @param {number} code @param {string} reason */
      close: (code, reason) => this.#lost(connection, code, reason),
      doubt: () => this.#check({ type: "offline" }),
    };
    let key = null;
    try {
      key = await this.#findKey();
    } catch (error) {
      if (error instanceof ProtocolError) {
        this.#lost(connection, error.code, error.message, true);
      } else { // another time there may be one
        if (connection === this.#connection) console.warn("edge: there is no key to join with yet:", String(error));
        this.#lost(connection, Code.LOST, String(error), true);
      }
    }
    if (connection !== this.#connection) return;
    const again = this.#attempt > 0 && this.#attempt < 3 && this.welcome !== null; // then it is the server's fault, and another may answer
    const impatient = () => {
      this.#at = this.#url;
      this.#lost(connection, Code.SILENT, "no welcome", again);
    };
    this.#fallbackTimer = setTimeout(impatient, (again ? AGAIN_SECONDS : WELCOME_SECONDS[kind]) * 1000);
    try {
      if (kind === "websocket") {
        this.#transport = new WebSocketTransport(this.#at, () => this.#greet(connection, key), listener);
        return;
      }
      const { HttpTransport } = await import("./edge-http.js");
      if (connection !== this.#connection) return;
      this.#transport = new HttpTransport(this.#at, kind, `edge.${VERSION}.json`, listener);
      this.#greet(connection, key);
    } catch (error) {
      this.#lost(connection, Code.LOST, String(error));
    }
  }

  /** @returns {Promise<string | null>} */
  async #findKey() {
    if (this.#key === undefined && this.#seated) { // it is of the session whose seat it is
      await this.#renewKey();
      return this.#given.key;
    }
    if (this.#key === undefined) {
      const refused = this.#refused;
      this.#refused = null;
      try {
        this.#given = await givenKey(this.#server, this.#session, refused);
        this.#unanswered = 0;
        this.#unasked = false;
      } catch (error) {
        this.#unanswered = /** @type {Error} */ (error).name === "TimeoutError" ? this.#unanswered + 1 : 0;
        if (this.#unanswered < MAX_UNANSWERED) throw error;
        console.warn(`edge: ${this.#server}/session does not answer, so this page is a guest of its own`);
        this.#given = { key: null, renewAt: Infinity };
        this.#unanswered = 0;
        this.#unasked = true;
      }
      return this.#given.key;
    }
    const key = typeof this.#key === "function" ? await within(KEY_FUNCTION_SECONDS, this.#key()) : this.#key;
    if (typeof key !== "string" || key === "") throw new TypeError("a key is text, and not empty");
    return key;
  }

  /** Get a newer key of the same session in time, so that the seat can be resumed for as long as the page lives. */
  async #renewKey() {
    const { key, renewAt } = this.#given;
    if (key === null || Date.now() / 1000 < renewAt) return;
    this.#given = { key, renewAt: Date.now() / 1000 + RENEWAL_SECONDS };
    try {
      const given = await renewedKey(this.#server, this.#session, key);
      if (this.#given.key === key) this.#given = given;
    } catch (error) {
      console.warn("edge: the key of this session could not be renewed:", String(error));
    }
  }

  /** @param {Connection} connection @param {string | null} key */
  #greet(connection, key) {
    const [received, since] = this.#seated ? [this.#counts.received, this.#since] : [null, null];
    this.#hellos += 1;
    const known = { client: this.#client, attempt: this.#hellos, received, since, vocabulary: this.#vocabulary };
    const hello = { name: this.#name, key, ...known };
    this.#transport?.send(connection.hello(hello, seconds()));
  }

  /** @param {Connection} connection @param {string} frame */
  #heard(connection, frame) {
    if (connection !== this.#connection) return;
    try {
      const message = connection.receive(frame, seconds());
      if (message !== null) this.#take(message);
      if (connection === this.#connection && connection.nextDue <= seconds()) this.#tick(); // timers of hidden pages are slow
      else this.#schedule();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lost(connection, error.code, error.message, true);
    }
  }

  /** @param {Message} message */
  #take(message) {
    if (message.kind === "welcome") {
      this.#welcomed(message.welcome);
    } else if (message.kind === "bye") {
      this.#sendTo(message.where);
      if (this.#connection !== null) this.#lost(this.#connection, message.code, message.reason, true, message.unconfirmed);
    } else if (message.kind === "event") {
      if (!this.#handlers.has(message.name)) this.#noteUnheard(message.name);
      this.#tell(message.name, message.body);
    } else if (message.kind === "request") {
      this.#answerQuestion(message.name, message.body, message.id, message.seconds);
    } else if (message.kind === "cancel") {
      this.#asked.get(message.id)?.abort();
    } else if (message.kind === "part") {
      this.#questions.get(message.id)?.part({ name: message.name, body: message.body });
    } else if (message.kind === "reply") {
      this.#questions.get(message.id)?.end({ name: message.name, body: message.body }, null);
    } else if (message.id !== null) {
      this.#questions.get(message.id)?.end(null, new RequestFailed(message.problem, message.message));
    } else {
      this.#report({ problem: message.problem, message: message.message, about: message.about });
    }
  }

  /** Tell the page of a problem; or the console, once. @param {Refusal} refusal */
  #report(refusal) {
    const { problem, message, about } = refusal;
    if (this.#handlers.get("$error")?.size) this.#tell("$error", refusal);
    else if (this.#isNew(`${problem} of ${about}`)) console.warn(`edge: ${about || "the room"}: ${problem}: ${message}`);
  }

  /** Whether this is reported for the first time. @param {string} what */
  #isNew(what) {
    if (this.#reported.has(what) || this.#reported.size >= MAX_REPORTED) return false;
    this.#reported.add(what);
    return true;
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    const wasOutdated = this.outdated;
    this.welcome = welcome;
    this.#openedAt = seconds();
    this.#mostBytes = welcome.message_bytes ?? this.#mostBytes;
    this.#rekeyed = this.#restored = false;
    this.#goLast();
    this.#fallback.welcomed(Date.now() / 1000);
    clearTimeout(this.#fallbackTimer);
    const upward = this.#fallback.upwardSeconds;
    if (upward < Infinity) this.#fallbackTimer = after(upward, () => this.#probe());
    if (!welcome.resumed) {
      this.#loseSeat();
      this.#since = this.#hellos;
    }
    this.#seated = true;
    this.#unwritten = new Set(this.#latest.keys());
    for (const frame of this.#counts.unacked) this.#transport?.send(frame); // before any handler can send more
    this.#setState("open");
    this.#writeLatest();
    this.#tell("$welcome", welcome);
    this.#vocabulary ||= welcome.vocabulary ?? "";
    if (this.outdated && !wasOutdated) this.#tell("$outdated", welcome.vocabulary);
  }

  /** An event came for which this page has never had a handler: the page may be outdated. @param {string} name */
  #noteUnheard(name) {
    if (!this.#isNew(`no handler of ${name}`)) return;
    this.#report({ problem: "unknown_event", message: "this page has no handler for this event", about: name });
  }

  /** Whether WebSocket can be opened by now: if so, make way for it. */
  #probe() {
    const connection = this.#connection;
    this.#fallback.noteProbe();
    let socket;
    try {
      socket = new WebSocket(this.#at.replace("http", "ws"), `edge.${VERSION}.json`);
    } catch {
      return; // the page may not have one at all
    }
    const close = () => socket.close();
    const probeTimer = setTimeout(close, PROBE_SECONDS * 1000);
    socket.onopen = () => {
      close();
      if (connection === null || connection !== this.#connection) return;
      this.#fallback.climb();
      this.#drop(Code.LOST, "a better transport is to be had");
      this.#setState("away");
      this.#connect();
    };
    socket.onclose = () => {
      clearTimeout(probeTimer);
      if (connection === null || connection !== this.#connection) return;
      this.#fallbackTimer = after(this.#fallback.upwardSeconds, () => this.#probe());
    };
  }

  /** @param {string} name @param {any} body @param {number} id @param {number | null} seconds */
  async #answerQuestion(name, body, id, seconds) {
    const handler = this.#answers.get(name);
    const seat = this.#seat;
    const abort = new AbortController();
    this.#asked.set(id, abort);
    const timer = seconds === null ? 0 : after(seconds, () => abort.abort());
    /** @type {any[]} */
    let reply = ["!not_now", { message: "nobody answers this", about: name }, id];
    try {
      const answer = await handler?.(body, { signal: abort.signal });
      if (answer) reply = [`=${answer[0]}`, answer[1], id];
      this.#frame(reply); // what can't travel is the handler's fault
    } catch (error) {
      if (!abort.signal.aborted) console.error(error);
      reply = ["!crashed", { message: "answering it failed", about: name }, id];
    }
    clearTimeout(timer);
    if (this.#asked.get(id) === abort) this.#asked.delete(id);
    if (this.state === "closed" || seat !== this.#seat) return; // the question was another seat's
    if (abort.signal.aborted) reply = ["!cancelled", { message: "it was given up", about: name }, id];
    this.#sendCounted(this.#frame(reply));
  }

  /** The frame of a message of this page's. @param {any[]} message @returns {string} */
  #frame(message) {
    const frame = encode(message);
    const size = bytesOf(frame);
    if (size <= this.#mostBytes) return frame;
    throw new RangeError(`${message[0]} is ${size} bytes, and the room reads ${this.#mostBytes} at most`);
  }

  /** @param {string} frame */
  #sendCounted(frame) {
    this.#counts.record(frame);
    if (this.#counts.overflowed) this.#giveUp();
    else if (this.state === "open") this.#transport?.send(frame);
  }

  /** More waits to be acknowledged than may: give it up, and come back to a fresh start. */
  #giveUp() {
    const message = `${this.waiting} messages were not acknowledged, more than may wait: they are not sent again, and may be lost`;
    this.#forgetSeat();
    this.#report({ problem: "behind", message, about: "" });
    if (this.state === "open" && this.#connection !== null) this.#lost(this.#connection, Code.BEHIND, message, true);
  }

  /** @param {string} name @param {any} body */
  #tell(name, body) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(body);
      } catch (error) {
        console.error(error); // one handler's fault is not the connection's
      }
    }
  }

  /** Look at the clock when something is next due. */
  #schedule() {
    clearTimeout(this.#dueTimer);
    if (this.#transport === null) return;
    const next = (this.#connection?.nextDue ?? Infinity) - seconds();
    const renewal = this.#key === undefined && this.#given.key !== null ? this.#given.renewAt - Date.now() / 1000 : Infinity;
    const delay = Math.min(next, renewal, this.#unwritten.size > 0 && this.state === "open" ? 0.05 : Infinity);
    if (delay < Infinity) this.#dueTimer = setTimeout(() => this.#tick(), Math.max(0, delay * 1000));
  }

  #tick() {
    const connection = this.#connection;
    if (connection === null) return;
    try {
      for (const frame of connection.due(seconds())) this.#transport?.send(frame);
      this.#writeLatest();
      if (this.#key === undefined) this.#renewKey().then(() => this.#schedule());
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lost(connection, error.code, error.message);
    }
  }

  /**
   * The connection is over: come back as its code says.
   * @param {Connection} connection @param {number} code @param {string} reason
   * @param {boolean} [told] whether somebody said why: then it is not the transport's fault
   * @param {boolean} [unconfirmed] whether that may not be the end
   */
  #lost(connection, code, reason, told = false, unconfirmed = false) {
    if (connection !== this.#connection) return;
    const opened = connection.state !== "silent";
    const welcomed = connection.state === "open"; // perhaps to a seat that knows less than it had said: it is lost
    this.#drop(code, reason);
    if (this.#refusesKey(code) || this.#isElsewhere(code)) {
      this.#setState(this.welcome === null ? "connecting" : "away");
      this.#connect();
      return;
    }
    const retry = this.#unasked && code === Code.KEY_INVALID ? "resume" : retryAfter(code);
    if (retry === "never" || (code === Code.KEY_EXPIRED && typeof this.#key !== "function")) {
      this.#close(unconfirmed ? { code, reason, unconfirmed } : { code, reason });
      return;
    }
    const lasted = this.#openedAt > 0 ? seconds() - this.#openedAt : null;
    const blamed = !told && (code < 4000 || code === Code.LOST || code === Code.SILENT);
    const atOnce = blamed && this.#fallback.ended(lasted, opened);
    if (blamed) this.#at = this.#url;
    if (retry === "fresh" && (welcomed || lasted !== null)) this.#loseSeat(); // who gets no welcome hears nothing of the seat
    this.#setState(this.welcome === null ? "connecting" : "away");
    // full jitter, so that a crowd does not come back at once
    if (this.#openedAt > 0 && seconds() - this.#openedAt > STABLE_SECONDS) this.#attempt = 0;
    this.#openedAt = 0;
    const longest = atOnce ? 0 : Math.min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** this.#attempt);
    this.#attempt += atOnce ? 0 : 1;
    this.#retryTimer = setTimeout(() => this.#connect(), Math.random() * longest * 1000);
  }

  /** The room is at another server: connect there, until that fails. @param {string} where */
  #sendTo(where) {
    if (where === "") return;
    try {
      const there = new URL(where.replace(/^ws/, "http"));
      const [from, to] = [new URL(this.#url).protocol, there.protocol];
      if (to === "https:" || (to === "http:" && from === "http:")) this.#at = there.href;
    } catch {
      console.error(`sent to no address: ${where}`);
    }
  }

  /** Whether a key that this page was given is refused, and another is worth a try. @param {number} code */
  #refusesKey(code) {
    if (this.#key !== undefined || this.#rekeyed || (code !== Code.KEY_INVALID && code !== Code.KEY_EXPIRED)) return false;
    this.#rekeyed = true;
    this.#refused = this.#given.key;
    this.#loseSeat();
    return true;
  }

  /** Whether another page took the seat while this page was in the browser's cache: this page takes it back. @param {number} code */
  #isElsewhere(code) {
    if (code !== Code.REPLACED || !this.#restored) return false;
    this.#restored = false;
    this.#client = randomName();
    this.#loseSeat();
    return true;
  }

  /** What was sent to a seat, and is not known to have arrived, is lost with it; what was sent to none is not. */
  #loseSeat() {
    if (this.#seated) this.#forgetSeat();
  }

  #forgetSeat() {
    this.#seated = false;
    this.#seat += 1;
    this.#counts.startFresh();
    this.#latest.clear();
    this.#failQuestions("gone", "the seat was lost");
  }

  /** Let go of the transport, with a goodbye if it can still carry one. @param {number} code @param {string} reason */
  #drop(code, reason) {
    for (const timer of [this.#dueTimer, this.#fallbackTimer, this.#retryTimer]) clearTimeout(timer);
    const [transport, connection] = [this.#transport, this.#connection];
    this.#transport = this.#connection = null;
    if (transport === null || connection === null) return;
    if (connection.state !== "closed") transport.send(connection.bye(code, reason));
    transport.close(code, reason);
  }

  /** @param {Ending} ending */
  #close(ending) {
    if (this.ending !== null) return;
    this.ending = ending;
    this.#drop(ending.code, ending.reason);
    this.#failQuestions("gone", ending.reason);
    for (const [target, event, listener] of this.#life) target?.removeEventListener?.(event, listener);
    if (this.welcome === null && ending.code !== Code.LEFT) console.warn(`edge: no seat in ${this.#url}: ${ending.code} ${ending.reason}`);
    this.#setState("closed");
  }

  /** Say that the page goes, for an HTTP transport would not be missed at once. The seat waits. */
  #pause() {
    this.#drop(Code.LOST, "the page was left");
    this.#setState(this.welcome === null ? "connecting" : "away");
  }

  /**
   * The page goes away. What its other `pagehide` listeners send must still arrive, so the goodbye is said later: at
   * `visibilitychange` if the page was visible, at `freeze` if it is cached. Otherwise the browser closes a WebSocket by
   * itself, but not an HTTP transport.
   */
  #goAway = () => {
    this.#leaving = true;
    if (document.visibilityState !== "visible" && this.#fallback.kind !== "websocket") this.#pause();
  };

  #freeze = () => {
    if (this.#leaving) this.#pause();
  };

  /** The page is back, from the browser's cache or where it was. @param {Event} event */
  #comeBack = (event) => {
    this.#leaving = false;
    if ("persisted" in event && event.persisted) this.#restored = true;
    this.#check(event);
  };

  /** The page is shown, or hidden. @param {Event} event */
  #show = (event) => {
    if (document.visibilityState === "visible") {
      this.#check(event);
    } else if (this.#leaving) {
      this.#pause();
    } else {
      this.#goLast();
    }
  };

  /** Be the last of the `pagehide` listeners that there are by now. */
  #goLast() {
    globalThis.removeEventListener?.("pagehide", this.#goAway);
    globalThis.addEventListener?.("pagehide", this.#goAway);
  }

  /** The network has changed, or the page was asleep: see whether the connection lives, or do not wait out the backoff. @param {{type: string}} event */
  #check = ({ type }) => {
    if (this.#connection !== null) {
      if (this.#connection.check(seconds())) this.#tick();
    } else if (this.ending === null && type !== "offline") {
      clearTimeout(this.#retryTimer);
      this.#connect();
    }
  };

  /** What is heard of the life of the page: see docs/pages.md. @type {[EventTarget | undefined, string, (event: Event) => void][]} */
  #life = [
    [globalThis, "online", this.#check],
    [globalThis, "offline", this.#check],
    [globalThis.document, "visibilitychange", this.#show],
    [globalThis.document, "freeze", this.#freeze],
    [globalThis.document, "resume", this.#check],
    [globalThis, "pagehide", this.#goAway],
    [globalThis, "pageshow", this.#comeBack],
  ];

  /** @param {string} problem @param {string} message */
  #failQuestions(problem, message) {
    for (const { end } of [...this.#questions.values()]) end(null, new RequestFailed(problem, message));
    for (const abort of this.#asked.values()) abort.abort();
  }

  /** @param {State} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell("$state", state);
  }
}

/**
 * Join a room, and stay in it: the connection is made again whenever it is lost, as its codes say.
 * @param {string} url `/rooms/<kind>/<name>`, or a whole address
 * @param {{name?: string, key?: Key, session?: "browser" | "tab", transports?: Kind[]}} [options] what to be called; the key
 *   of the session whose seat it is, or what gives one; without one, whether the session is this browser's, shared by its
 *   tabs, or this tab's alone; which transports to try, best first
 * @returns {Room}
 */
export function join(url, options) {
  return new Room(url, options);
}

/** A message, or a part of it, as JSON. A lone surrogate can't be encoded as UTF-8: it is replaced by U+FFFD. @param {unknown} value @returns {string} */
function encode(value) {
  const text = JSON.stringify(value);
  return text.includes("\\ud") ? text.replace(/\\\\|\\ud[89a-f]../g, (sign) => (sign.length === 2 ? sign : "\ufffd")) : text;
}

const encoder = new TextEncoder();

/** How many bytes a frame has. @param {string} frame */
function bytesOf(frame) {
  return encoder.encode(frame).length;
}

/** @param {string} name of an event that is sent */
function checkName(name) {
  if (typeof name !== "string" || !/^\p{L}/u.test(name)) throw new TypeError(`an event's name begins with a letter: ${name}`);
}

/** What is promised, if it comes in time. @template T @param {number} wait in seconds @param {T | Promise<T>} promise @returns {Promise<T>} */
function within(wait, promise) {
  return new Promise((resolve, reject) => {
    const timer = after(wait, () => reject(new Error(`nothing came within ${wait} s`)));
    Promise.resolve(promise).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** `setTimeout`, which would not wait at all for more than 2^31 ms. @param {number} wait in seconds @param {() => void} run */
function after(wait, run) {
  return setTimeout(run, Math.min(wait * 1000, 2 ** 31 - 1));
}

/** 128 random bits, as text. */
function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function seconds() {
  return performance.now() / 1000;
}

/** @param {number} time in seconds */
function tenthsOfMilliseconds(time) {
  return Math.floor(time * 10_000) / 10_000;
}
