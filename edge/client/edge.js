// @ts-check
/**
 * edge's client for browsers: one ES module, no build step.
 *
 *     import { join } from "/edge.js";
 *     const room = join("/rooms/drawing/one", { name: "ana" });
 *     room.on("turn:started", (event) => ...);
 *     room.send("turn:done", { drawing });
 *
 * The protocol is described in docs/wire.md. `Connection` is its machine, without a socket or a clock, and runs the
 * same test vectors as the one in Python.
 */

/** @typedef {"reliable" | "latest" | "volatile"} Delivery */
/** @typedef {"connecting" | "open" | "away" | "closed"} State */
/** @typedef {{code: number, reason: string}} Ending */
/** @typedef {{resumed: boolean, why: string, received: number, key: string, number: number, heartbeat: number, dead_after: number}} Welcome */
/** @typedef {{problem: string, message: string, about: string}} Refusal */
/**
 * @typedef {{kind: "event", name: string, body: any} | {kind: "request", name: string, body: any, id: number}
 *   | {kind: "reply", name: string, body: any, id: number}
 *   | {kind: "error", problem: string, message: string, about: string, id: number | null}
 *   | {kind: "welcome", welcome: Welcome} | {kind: "bye", code: number, reason: string}} Message
 */

export const VERSION = 1;

/** Codes of `bye` and of WebSocket's close that this client itself says; the rest it judges by their hundreds. */
export const Code = Object.freeze({
  LOST: 4000, SILENT: 4002, MISCOUNT: 4101, BEHIND: 4102, LEFT: 4200, MALFORMED: 4202, TOO_LARGE: 4203,
});

const ACK_SECONDS = 0.5;
const WINDOW_FRAMES = 2048;
const WINDOW_CHARACTERS = 512 * 1024;
const WELCOME_SECONDS = 10;
const SHORTEST_WAIT = 0.5;
const LONGEST_WAIT = 30;
const STABLE_SECONDS = 5; // a connection that lasted this long makes the next wait short again

/** What to do after a code: come back to the seat, come back afresh, or stay away. @param {number} code */
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
    this.characters = 0;
  }

  get acked() { return this.sent - this.unacked.length; }
  get overflowed() { return this.unacked.length > WINDOW_FRAMES || this.characters > WINDOW_CHARACTERS; }

  /** @param {string} frame */
  record(frame) {
    this.sent += 1;
    this.unacked.push(frame);
    this.characters += frame.length;
  }

  /** @param {number} count */
  acknowledge(count) {
    if (count < this.acked || count > this.sent) {
      throw new ProtocolError(`acknowledged ${count} of ${this.sent} frames, ${this.acked} before`, Code.MISCOUNT);
    }
    for (const frame of this.unacked.splice(0, count - this.acked)) this.characters -= frame.length;
  }

  startAfresh() {
    this.sent = this.received = this.characters = 0;
    this.unacked = [];
  }
}

/** One transport's life, as a machine: frames and times (in seconds) in, messages and frames out. */
export class Connection {
  /** @param {Counts} counts @param {number} now */
  constructor(counts, now) {
    this.counts = counts;
    /** @type {"silent" | "greeted" | "open" | "closed"} */
    this.state = "silent";
    this.heardAt = now;
    this.ackDue = Infinity;
    this.pingDue = Infinity;
    this.ackedToPeer = 0;
    this.charactersSinceAck = 0;
    this.ackFrames = 32;
    this.ackCharacters = 64 * 1024;
    this.resuming = false;
    this.heartbeat = 20;
    this.deadAfter = 30;
  }

  /** @param {{name: string, key: string | null, received: number | null}} hello @returns {string} */
  hello({ name, key, received }) {
    if (this.state !== "silent") throw new ProtocolError(`hello while ${this.state}`);
    this.state = "greeted";
    this.resuming = received !== null;
    return JSON.stringify(["$hello", { version: VERSION, name, key, received }]);
  }

  /** @param {number} code @param {string} reason @returns {string} */
  bye(code, reason) {
    if (this.state === "closed") throw new ProtocolError("bye while closed");
    this.state = "closed";
    return JSON.stringify(["$bye", { code, reason }]);
  }

  /** Read one frame; null for what is dealt with here. @param {string} frame @param {number} now @returns {Message | null} */
  receive(frame, now) {
    this.heardAt = Math.max(this.heardAt, now);
    if (this.state === "closed") return null;
    const [name, body, id] = parse(frame);
    if (name[0] === "$") return this.#control(name, body, now);
    if (this.state !== "open") throw new ProtocolError(`${name} while ${this.state}`);
    if (name[0] === "~") return { kind: "event", name: name.slice(1), body };
    this.#countReceived(frame.length, now);
    if (name[0] === "=" && id !== undefined) return { kind: "reply", name: name.slice(1), body, id };
    if (name[0] === "!") {
      const { message = "", about = "" } = body ?? {};
      return { kind: "error", problem: name.slice(1), message, about, id: id ?? null };
    }
    return id === undefined ? { kind: "event", name, body } : { kind: "request", name, body, id };
  }

  /** When to call `due` again at the latest. */
  get nextDue() {
    return this.state === "open" ? Math.min(this.ackDue, this.pingDue, this.heardAt + this.deadAfter) : Infinity;
  }

  /** The acks and pings whose time has come; what was recorded must be written before them. @param {number} now */
  due(now) {
    /** @type {string[]} */
    const frames = [];
    if (this.state !== "open") return frames;
    if (now >= this.heardAt + this.deadAfter) throw new ProtocolError(`silent for ${this.deadAfter} s`, Code.SILENT);
    if (now >= this.ackDue) {
      this.ackedToPeer = this.counts.received;
      this.charactersSinceAck = 0;
      this.ackDue = Infinity;
      frames.push(JSON.stringify(["$ack", this.counts.received]));
    }
    if (now >= this.pingDue) {
      this.pingDue = now + this.heartbeat;
      frames.push(JSON.stringify(["$ping", this.counts.sent]));
    }
    return frames;
  }

  /** @param {string} name @param {any} body @param {number} now @returns {Message | null} */
  #control(name, body, now) {
    if (name === "$bye") {
      this.state = "closed";
      return { kind: "bye", code: Number(body?.code), reason: String(body?.reason ?? "") };
    }
    if (name === "$welcome" && this.state === "greeted") {
      this.state = "open";
      if (this.resuming && !body.resumed) this.counts.startAfresh();
      this.counts.acknowledge(body.received);
      this.ackedToPeer = this.counts.received;
      this.heartbeat = body.heartbeat;
      this.deadAfter = body.dead_after;
      this.ackFrames = body.ack_frames ?? this.ackFrames;
      this.ackCharacters = body.ack_bytes ?? this.ackCharacters;
      this.pingDue = now + this.heartbeat;
      return { kind: "welcome", welcome: body };
    }
    if (this.state !== "open") throw new ProtocolError(`${name} while ${this.state}`);
    if (name === "$ack") {
      this.counts.acknowledge(body);
    } else if (name === "$ping") {
      if (body !== this.counts.received) {
        throw new ProtocolError(`peer sent ${body} frames, ${this.counts.received} arrived`, Code.MISCOUNT);
      }
      this.ackDue = now;
    } else {
      throw new ProtocolError(`${name} while ${this.state}`);
    }
    return null;
  }

  /** @param {number} length @param {number} now */
  #countReceived(length, now) {
    this.counts.received += 1;
    this.charactersSinceAck += length;
    const many = this.counts.received - this.ackedToPeer >= this.ackFrames || this.charactersSinceAck >= this.ackCharacters;
    this.ackDue = many ? now : Math.min(this.ackDue, now + ACK_SECONDS);
  }
}

/** @param {string} frame @returns {[string, any, number | undefined]} */
function parse(frame) {
  let plain;
  try {
    plain = JSON.parse(frame);
  } catch {
    throw new ProtocolError("not JSON");
  }
  const [name, body, id] = Array.isArray(plain) ? plain : [];
  const wellFormed = typeof name === "string" && name !== "" && (plain.length === 2 || plain.length === 3);
  if (!wellFormed || (id !== undefined && !Number.isInteger(id))) throw new ProtocolError("not a message");
  return [name, body, id];
}

/**
 * One player's end of a room. Make it with `join`.
 *
 * Local happenings are told under names that no event can have: `$state` (the new state), `$welcome` (each welcome: if
 * it was not `resumed`, begin from nothing), `$error` (a message that the room refused).
 */
export class Room {
  /** @type {Map<string, Set<(body: any) => void>>} */
  #handlers = new Map();
  /** @type {Map<string, (body: any) => any>} */
  #answers = new Map();
  /** @type {Map<number, {resolve: (answer: {name: string, body: any}) => void, reject: (error: Error) => void}>} */
  #questions = new Map();
  /** The newest frame of each latest value, and the keys of those still to be written. @type {Map<string, string>} */
  #latest = new Map();
  /** @type {Set<string>} */
  #unwritten = new Set();
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Connection | null} */
  #connection = null;
  #counts = new Counts();
  #asked = 0;
  #attempt = 0;
  /** When to look at the clock for acks and pings; when to connect again. */
  #dueTimer = 0;
  #retryTimer = 0;
  #seated = false;
  /** Which seat this is, of those this room has had. */
  #seat = 0;
  #openedAt = 0;
  #url;
  #name;

  /** @param {string} url @param {{name?: string}} options */
  constructor(url, { name = "" } = {}) {
    const absolute = new URL(url, globalThis.location?.href);
    absolute.protocol = absolute.protocol.replace("http", "ws");
    this.#url = absolute.href;
    this.#name = name;
    /** @type {State} */
    this.state = "connecting";
    /** Why it closed. @type {Ending | null} */
    this.ending = null;
    /** The newest welcome. @type {Welcome | null} */
    this.welcome = null;
    globalThis.addEventListener?.("online", this.#hurry);
    this.#connect();
  }

  /** This player's number in the room, once welcomed. */
  get number() { return this.welcome?.number ?? null; }

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
   * Answer the room's questions of this name: `handler` returns `[name, body]`, or a promise of it.
   * @param {string} name @param {(body: any) => [string, any] | Promise<[string, any]>} handler
   */
  answer(name, handler) {
    this.#answers.set(name, handler);
  }

  /**
   * Send the room an event. While away, reliable ones are kept, latest ones kept once a key, volatile ones dropped.
   * @param {string} name @param {object} [body] @param {{delivery?: Delivery, key?: string}} [options]
   */
  send(name, body = {}, { delivery = "reliable", key = "" } = {}) {
    if (delivery === "reliable") {
      this.#sendCounted([name, body]);
      return;
    }
    const frame = JSON.stringify([`~${name}`, body]);
    if (delivery === "latest") {
      this.#latest.set(`${name} ${key}`, frame);
      this.#unwritten.add(`${name} ${key}`);
      this.#writeLatest();
    } else if (this.#idle) {
      this.#socket?.send(frame);
    }
  }

  /**
   * Send an event as a request: a promise of the room's answer, or of a `RequestFailed`.
   * @param {string} name @param {object} [body] @returns {Promise<{name: string, body: any}>}
   */
  request(name, body = {}) {
    return new Promise((resolve, reject) => {
      this.#asked += 1;
      this.#sendCounted([name, body, this.#asked]); // throws, and so rejects, when the room is closed
      this.#questions.set(this.#asked, { resolve, reject });
    });
  }

  /** Leave the room for good. */
  leave() {
    this.#close({ code: Code.LEFT, reason: "left" });
  }

  /** Whether what is sent now is written now. */
  get #idle() { return this.state === "open" && this.#socket?.bufferedAmount === 0; }

  #writeLatest() {
    if (this.#idle) {
      for (const key of this.#unwritten) this.#socket?.send(this.#latest.get(key) ?? "");
      this.#unwritten.clear();
    }
    this.#schedule();
  }

  #connect() {
    const connection = new Connection(this.#counts, seconds());
    const socket = new WebSocket(this.#url, `edge.${VERSION}.json`);
    this.#connection = connection;
    this.#socket = socket;
    const impatience = setTimeout(() => this.#lost(socket, Code.SILENT, "no welcome"), WELCOME_SECONDS * 1000);
    socket.onopen = () => {
      const received = this.#seated ? this.#counts.received : null;
      socket.send(connection.hello({ name: this.#name, key: this.welcome?.key ?? null, received }));
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      try {
        const message = connection.receive(String(data), seconds());
        if (message?.kind === "welcome") clearTimeout(impatience);
        if (message !== null) this.#take(message);
        this.#schedule();
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.#lost(socket, error.code, error.message);
      }
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(impatience);
      this.#lost(socket, code, reason);
    };
  }

  /** @param {Message} message */
  #take(message) {
    if (message.kind === "welcome") {
      this.#welcomed(message.welcome);
    } else if (message.kind === "bye") {
      if (this.#socket !== null) this.#lost(this.#socket, message.code, message.reason);
    } else if (message.kind === "event") {
      this.#tell(message.name, message.body);
    } else if (message.kind === "request") {
      this.#answerQuestion(message.name, message.body, message.id);
    } else if (message.kind === "reply") {
      this.#questions.get(message.id)?.resolve({ name: message.name, body: message.body });
      this.#questions.delete(message.id);
    } else if (message.id !== null) {
      this.#questions.get(message.id)?.reject(new RequestFailed(message.problem, message.message));
      this.#questions.delete(message.id);
    } else {
      this.#tell("$error", { problem: message.problem, message: message.message, about: message.about });
    }
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.welcome = welcome;
    this.#openedAt = seconds();
    if (!welcome.resumed) this.#loseSeat();
    this.#seated = true;
    this.#unwritten = new Set(this.#latest.keys());
    for (const frame of this.#counts.unacked) this.#socket?.send(frame); // before any handler can send more
    this.#setState("open");
    this.#writeLatest();
    this.#tell("$welcome", welcome);
  }

  /** @param {string} name @param {any} body @param {number} id */
  async #answerQuestion(name, body, id) {
    const handler = this.#answers.get(name);
    const seat = this.#seat;
    let answer;
    try {
      answer = await handler?.(body);
    } catch (error) {
      console.error(error);
    }
    if (this.state === "closed" || seat !== this.#seat) return; // the question was another seat's
    if (answer) this.#sendCounted([`=${answer[0]}`, answer[1], id]);
    else this.#sendCounted(["!not_now", { message: "nobody answers this", about: name }, id]);
  }

  /** @param {any[]} message */
  #sendCounted(message) {
    if (this.state === "closed") throw new ProtocolError("the room is closed", this.ending?.code);
    const frame = JSON.stringify(message);
    this.#counts.record(frame);
    if (this.#counts.overflowed) this.#close({ code: Code.BEHIND, reason: "too much was not acknowledged" });
    else if (this.state === "open") this.#socket?.send(frame);
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
    if (this.#socket === null) return;
    const next = (this.#connection?.nextDue ?? Infinity) - seconds();
    const delay = Math.min(next, this.#unwritten.size > 0 && this.state === "open" ? 0.05 : Infinity);
    if (delay < Infinity) this.#dueTimer = setTimeout(() => this.#tick(), Math.max(0, delay * 1000));
  }

  #tick() {
    const socket = this.#socket;
    if (socket === null || this.#connection === null) return;
    try {
      for (const frame of this.#connection.due(seconds())) socket.send(frame);
      this.#writeLatest();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lost(socket, error.code, error.message);
    }
  }

  /** The connection is over: come back as its code says. @param {WebSocket} socket @param {number} code @param {string} reason */
  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#drop(code, reason);
    const retry = retryAfter(code);
    if (retry === "never") {
      this.#close({ code, reason });
      return;
    }
    if (retry === "fresh") this.#loseSeat();
    this.#setState(this.welcome === null ? "connecting" : "away");
    // full jitter, so that a crowd does not come back at once
    if (this.#openedAt > 0 && seconds() - this.#openedAt > STABLE_SECONDS) this.#attempt = 0;
    this.#openedAt = 0;
    const longest = Math.min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.#connect(), Math.random() * longest * 1000);
  }

  /** What was sent to a seat, and is not known to have arrived, is lost with it; what was sent to none is not. */
  #loseSeat() {
    if (!this.#seated) return;
    this.#seated = false;
    this.#seat += 1;
    this.#counts.startAfresh();
    this.#latest.clear();
    this.#failQuestions("gone", "the seat was lost");
  }

  /** Let go of the socket, with a goodbye if it can still carry one. @param {number} code @param {string} reason */
  #drop(code, reason) {
    clearTimeout(this.#dueTimer);
    clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState === WebSocket.OPEN) {
      if (this.#connection?.state !== "closed") socket.send(this.#connection?.bye(code, reason) ?? "");
      socket.close(4000 <= code && code < 5000 ? code : 1000, reason.slice(0, 40));
    } else {
      socket.close();
    }
  }

  /** @param {Ending} ending */
  #close(ending) {
    if (this.ending !== null) return;
    this.ending = ending;
    this.#drop(ending.code, ending.reason);
    this.#failQuestions("gone", ending.reason);
    globalThis.removeEventListener?.("online", this.#hurry);
    this.#setState("closed");
  }

  /** The network is back: do not wait out the backoff. */
  #hurry = () => {
    if (this.#socket === null && this.ending === null) {
      clearTimeout(this.#retryTimer);
      this.#connect();
    }
  };

  /** @param {string} problem @param {string} message */
  #failQuestions(problem, message) {
    const questions = [...this.#questions.values()];
    this.#questions.clear();
    for (const { reject } of questions) reject(new RequestFailed(problem, message));
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
 * @param {{name?: string}} [options] what to be called
 * @returns {Room}
 */
export function join(url, options) {
  return new Room(url, options);
}

function seconds() {
  return performance.now() / 1000;
}
