// @ts-check
import { Code, MAX_NAME_BYTES, MAX_OPTIONS_BYTES, MAX_REPORTED, WELCOME_SECONDS } from "./constants.js";
import { ReconnectingConnection } from "./reconnecting.js";
import { Requests } from "./requests.js";
import { patched } from "./state.js";
import { bytesOf, checkEventName, encode, ProtocolError } from "./wire.js";

/** @typedef {"reliable" | "latest" | "volatile"} Delivery */
/** @typedef {import("./fallback.js").TransportKind} TransportKind */
/** @typedef {import("./keys.js").SessionScope} SessionScope */
/** @typedef {import("./reconnecting.js").Ending} Ending */
/** @typedef {import("./reconnecting.js").Status} Status */
/** @typedef {import("./requests.js").RequestOptions} RequestOptions */
/** @typedef {import("./session_key.js").Key} Key */
/** @typedef {import("./wire.js").Welcome} Welcome */
/** A problem: its identifier, a sentence about it, and the name of the event. @typedef {{problem: string, message: string, about: string}} Refusal */
/** @import { Answered, Bodiless, OpenTypes, Received, Reports, RoomTypes } from "./types.js" */
/** @typedef {{delivery?: Delivery, key?: string}} SendOptions */
/**
 * @typedef {{name?: string, options?: object, create?: "if needed" | "never" | "only", key?: Key, session?: SessionScope,
 *   transports?: TransportKind[], vocabulary?: string}} JoinOptions
 */

/**
 * A client that connects one player to a room. Make it with `join`. In TypeScript, `join<Poker>(...)` makes a `Room<Poker>`, whose
 * events, documents and options are those of the exported interface `Poker`. Without a type, they are not checked.
 *
 * `on` also accepts names that no event can have:
 * - `$status`: the status of the connection has changed. The handler gets the new status.
 * - `$welcome`: a welcome has arrived. Unless it is `resumed`, the page must discard the earlier state of the room.
 * - `$patch`: the shared state has changed. The handler gets the new `state`.
 * - `$outdated`: the room's events have changed since this page first joined. The page should offer a reload.
 * - `$error`: the room refused a message, or messages were lost, or an event has no handler. The last case is reported once for
 *   each name. Without a handler of `$error`, each problem is written to the console once for each name.
 * @template {RoomTypes} [K=any]
 */
export class Room {
  /** @type {Map<string, Set<(body: any) => void>>} */
  #handlers = new Map();
  /** The reported console warnings and unknown events, because each of them is reported once. @type {Set<string>} */
  #reported = new Set();
  /** @type {ReconnectingConnection} */
  #connection;
  /** The shared documents; null until they have arrived. @type {any} */
  #state = null;
  /** The documents with the patches that have arrived of a change that is not complete; null if there are none. @type {any} */
  #staged = null;
  /** The number of the newest patch of each shared document. @type {Record<string, number>} */
  #versions = {};
  #requests = new Requests({
    frame: (message) => this.#connection.frame(message),
    sendCounted: (frame) => this.#connection.sendCounted(frame),
    closed: () => this.#closed,
  });

  /** @param {string} url @param {JoinOptions} [options] */
  constructor(url, { name = "", options, create, key, vocabulary, session = "browser", transports = ["websocket", "stream", "poll"] } = {}) {
    const absolute = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href); // a frame's location may be about:srcdoc
    absolute.protocol = absolute.protocol.replace("ws", "http");
    absolute.hash = "";
    const path = /^(.*)\/rooms\/[^/]+\/[^/]+$/.exec(absolute.pathname);
    if (path === null) throw new TypeError(`${url} is not the address of a room: /rooms/<kind>/<name>`);
    if (!/^https?:$/.test(absolute.protocol)) throw new TypeError(`${url} is not the address of a room: ${absolute.protocol}`);
    if (typeof name !== "string") throw new TypeError(`name must be a string, not ${name}`);
    checkSize("name", name, MAX_NAME_BYTES + 2); // two for the quotes
    if (typeof options !== "object" && options !== undefined) throw new TypeError(`options must be an object, not ${options}`);
    checkSize("options", options ?? {}, MAX_OPTIONS_BYTES);
    if (!Array.isArray(transports) || transports.length === 0 || transports.some((kind) => !(kind in WELCOME_SECONDS))) {
      throw new TypeError(`transports are some of ${Object.keys(WELCOME_SECONDS)}, not ${transports}`);
    }
    if (key !== undefined && typeof key !== "function" && (typeof key !== "string" || key === "")) {
      throw new TypeError("key must be a string, not empty");
    }
    if (!["browser", "tab"].includes(session)) throw new TypeError(`session is "browser" or "tab", not ${session}`);
    this.#connection = new ReconnectingConnection(
      { url: absolute.href, server: absolute.origin + path[1], hello: { name, options, create, vocabulary }, key, session, transports },
      {
        message: (message) => this.#receive(message),
        tell: (event, body) => this.#call(event, body),
        problem: (problem, message) => this.#report({ problem, message, about: "" }),
        seatLost: (reason) => this.#requests.loseSeat(reason),
      },
    );
  }

  /** The status of the connection. @returns {Status} */
  get status() { return this.#connection.status; }

  /**
   * The room's shared documents, by name: `room.state.table`. Empty until they have arrived. The objects are immutable: a patch
   * replaces the objects in which something has changed, and keeps the others.
   * @returns {Partial<K["state"]>}
   */
  get state() { return this.#state ?? {}; }

  /**
   * Call `listener` with a part of the state when it has arrived, and after each patch in which it has changed. Returns a function
   * that ends this.
   * @template T
   * @param {(state: K["state"]) => T} selector returns the part, such as `(state) => state.table.turn`. It must not make new objects, since
   *   new objects count as changes
   * @param {(selected: T) => void} listener @returns {() => void}
   */
  watch(selector, listener) {
    checkFunction(listener);
    /** @type {T | undefined} */
    let selected;
    const compare = () => {
      const next = selector(this.state);
      if (!Object.is(next, selected)) listener((selected = next));
    };
    if (this.#state) compare();
    return this.on("$patch", compare);
  }

  /** The reason why this client closed; null while it is not closed. @returns {Ending | null} */
  get ending() { return this.#connection.ending; }

  /** The newest welcome; null before the first. @returns {Welcome | null} */
  get welcome() { return this.#connection.welcome; }

  /** The transport that is in use, or is tried next. @returns {TransportKind} */
  get transport() { return this.#connection.transport; }

  /** Return the time of the room's clock, in seconds since the room opened. The first call makes edge.js measure the clock more often. */
  now() { return this.#connection.now(); }

  /** The seconds that the newest answer to a ping took. @returns {number | null} */
  get roundTrip() { return this.#connection.roundTrip; }

  /** True if the room's events have changed since this page first joined. The page should then offer a reload. */
  get outdated() { return this.#connection.outdated; }

  /** This player's number in the room; null before the first welcome. */
  get number() { return this.welcome?.number ?? null; }

  /** True if this player has not logged in; null before the first welcome. */
  get guest() { return this.welcome?.guest ?? null; }

  /**
   * Call `handler` with the body of each event of this name. Returns a function that removes the handler.
   * @template {(keyof K["receives"] & string) | keyof Reports} N
   * @param {N} name @param {(body: N extends keyof K["receives"] ? K["receives"][N] : N extends keyof Reports ? Reports[N] : any) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    checkFunction(handler);
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * Answer the room's requests of this name. `handler` gets the body and `{ signal }`, and returns `[name, body]` or a promise of
   * such an array. The `signal` aborts if the room no longer waits for the answer.
   * @template {keyof K["receives"] & string} N
   * @param {N} name @param {(body: K["receives"][N], options: {signal: AbortSignal}) => Answered<K> | Promise<Answered<K>>} handler
   */
  answer(name, handler) {
    checkFunction(handler);
    this.#requests.answerWith(name, handler);
  }

  /**
   * The number of unacknowledged messages, sent or not. At most 2,048 messages with 512 KiB are stored. If there are more, all of
   * them are dropped, `$error` reports their number, and the seat starts fresh. The room may have received some of them.
   */
  get waiting() { return this.#connection.waiting; }

  /**
   * Send the room an event. While there is no connection, all reliable events and the newest latest event of each key are stored,
   * and volatile events are dropped. A lone surrogate becomes `\ufffd`. Throws a `RangeError` if the event is larger than the
   * room reads. Returns false if the event was dropped, or the room is closed.
   * @template {Bodiless<K>} B @overload @param {B} name @param {K["sends"][B]} [body] @param {SendOptions} [options] @returns {boolean}
   */
  /** @template {keyof K["sends"] & string} N @overload @param {N} name @param {K["sends"][N]} body @param {SendOptions} [options] @returns {boolean} */
  /** @param {string} name @param {any} [body] @param {SendOptions} [options] @returns {boolean} */
  send(name, body = {}, { delivery = "reliable", key = "" } = {}) {
    checkEventName(name);
    if (!["reliable", "latest", "volatile"].includes(delivery)) throw new TypeError(`no such delivery: ${delivery}`);
    if (this.#closed !== null) {
      this.#report({ problem: "gone", message: this.#closed, about: name });
      return false;
    }
    const frame = this.#connection.frame([delivery === "reliable" ? name : `~${name}`, body]);
    if (delivery === "reliable") this.#connection.sendCounted(frame);
    else if (delivery === "latest") this.#connection.sendLatest(`${name} ${key}`, frame);
    else return this.#connection.sendVolatile(frame);
    return true;
  }

  /**
   * Send an event as a request. Returns a promise of the room's answer, which is rejected with a `RequestFailed` if the request
   * fails. If the `signal` aborts or the `seconds` have passed, the request is also cancelled in the room.
   * @template {Bodiless<K>} B @overload @param {B} name @param {K["sends"][B]} [body] @param {RequestOptions} [options] @returns {Promise<Received<K>>}
   */
  /** @template {keyof K["sends"] & string} N @overload @param {N} name @param {K["sends"][N]} body @param {RequestOptions} [options] @returns {Promise<Received<K>>} */
  /** @param {string} name @param {any} [body] @param {RequestOptions} [options] @returns {Promise<any>} */
  request(name, body = {}, options = {}) { return this.#requests.request(name, body, options); }

  /**
   * Send an event as a request with many answers: `for await (const { name, body } of room.stream("history"))`. Leaving the
   * loop cancels the request.
   * @template {Bodiless<K>} B @overload @param {B} name @param {K["sends"][B]} [body] @param {RequestOptions} [options] @returns {AsyncIterable<Received<K>>}
   */
  /** @template {keyof K["sends"] & string} N @overload @param {N} name @param {K["sends"][N]} body @param {RequestOptions} [options] @returns {AsyncIterable<Received<K>>} */
  /** @param {string} name @param {any} [body] @param {RequestOptions} [options] @returns {AsyncIterable<any>} */
  stream(name, body = {}, options = {}) { return this.#requests.stream(name, body, options); }

  /** Leave the room for good. */
  leave() { this.#connection.close({ code: Code.LEFT, reason: "left" }); }

  /** The reason why nothing can be sent any more; null while messages can be sent. */
  get #closed() { return this.ending === null ? null : `the room is closed: ${this.ending.reason}`; }

  /** @param {import("./wire.js").Delivered} message */
  #receive(message) {
    if (message.kind === "event") {
      if (!this.#handlers.has(message.name)) this.#reportUnknown(message.name);
      this.#call(message.name, message.body);
    } else if (message.kind === "patch") {
      this.#patch(message.name, message.body, message.more);
    } else if (message.kind === "error" && message.id === null) {
      const { problem, message: text, about } = message;
      this.#report({ problem, message: text, about });
    } else {
      this.#requests.receive(message);
    }
  }

  /** Apply a patch to a shared document, or take a whole document. @param {string} name @param {any} body @param {number} [more] */
  #patch(name, [version, patch, whole], more) {
    if (patch !== null) {
      if (version !== this.#versions[name] + 1) throw new ProtocolError(`a patch of ${name} is missing`, Code.LOST);
      whole = patched((this.#staged ?? this.#state)[name], patch);
    }
    this.#versions[name] = version;
    this.#staged = { ...(this.#staged ?? this.#state), [name]: whole };
    if (more) return;
    [this.#state, this.#staged] = [this.#staged, null];
    this.#call("$patch", this.state);
  }

  /** Report an event for which this page has never had a handler, because the page may be outdated. @param {string} name */
  #reportUnknown(name) {
    if (!this.#isNew(`no handler of ${name}`)) return;
    this.#report({ problem: "unknown_event", message: "this page has no handler", about: name });
  }

  /** Report a problem to the page's handlers of `$error`. Without a handler, write it to the console, once for each name. @param {Refusal} refusal */
  #report(refusal) {
    const { problem, message, about } = refusal;
    if (this.#handlers.get("$error")?.size) this.#call("$error", refusal);
    else if (this.#isNew(`${problem} of ${about}`)) console.warn(`edge: ${about || "the room"}: ${problem}: ${message}`);
  }

  /** Return true in the first call with this argument, until `MAX_REPORTED` arguments are stored. @param {string} what */
  #isNew(what) {
    if (this.#reported.has(what) || this.#reported.size >= MAX_REPORTED) return false;
    this.#reported.add(what);
    return true;
  }

  /** @param {string} name @param {any} body */
  #call(name, body) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(body);
      } catch (error) {
        console.error(error); // one handler's error does not end the connection
      }
    }
  }
}

/** Throw a `RangeError` if a part of the hello is too large. @param {string} what @param {unknown} value @param {number} most */
function checkSize(what, value, most) {
  const size = bytesOf(encode(value));
  if (size > most) throw new RangeError(`${what} is ${size} bytes, and the room reads ${most} at most`);
}

/** @param {unknown} handler */
function checkFunction(handler) {
  if (typeof handler !== "function") throw new TypeError(`a handler must be a function, not ${handler}`);
}

/**
 * Join a room at the address `/rooms/<kind>/<name>`. The client reconnects whenever the connection is lost, until a code forbids it.
 * `name`: the name of this player, at most 512 bytes as JSON. `options`: the join options that the room's class declares, at most
 * 1 KiB as JSON. `create`: "never" to join only an open room, "only" to join only a room that this page opens; by default, the room
 * is opened if needed. `key`: the session's key, or a function that fetches one. `session`: without `key`, "browser" for a session
 * that all tabs share, "tab" for one of this tab alone. `transports`: the transports to try, best first.
 * `vocabulary`: the fingerprint in the exported module, so that a room with other events is noticed at the first welcome.
 * @template {OpenTypes} [K=any] @overload @param {string} url @param {JoinOptions & {options?: K["options"]}} [options] @returns {Room<K>}
 */
/** @template {RoomTypes} T @overload @param {string} url @param {JoinOptions & {options: T["options"]}} options @returns {Room<T>} */
/** @param {string} url @param {JoinOptions} [options] @returns {Room} */
export function join(url, options) {
  return new Room(url, options);
}
