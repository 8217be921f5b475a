// @ts-check
import { Connection } from "./connection.js";
import { AGAIN_SECONDS, Code, WELCOME_SECONDS } from "./constants.js";
import { after, seconds } from "./time.js";
import { WebSocketTransport } from "./websocket.js";
import { ProtocolError, SUBPROTOCOL } from "./wire.js";

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {import("./send_buffer.js").SendBuffer} SendBuffer */
/** @typedef {import("./session_key.js").SessionKey} SessionKey */
/**
 * Details of the end of a connection. `explained`: true if either side gave the reason, so that the transport is not at fault.
 * `unconfirmed`: true if another server may continue the room. `where`: the room's address at another server, or empty.
 * @typedef {{explained?: boolean, unconfirmed?: boolean, where?: string}} EndDetails
 */
/**
 * The callbacks of a driver. `welcomed` is called at most once, `message` for each message to the page, and `lost` once, unless
 * the driver is dropped earlier.
 * @typedef {{welcomed: (welcome: import("./wire.js").Welcome) => void, message: (message: import("./wire.js").Delivered) => void,
 *   lost: (code: number, reason: string, details?: EndDetails) => void}} DriverListener
 */

/** Passes frames between one transport and its connection machine, and runs the machine's timer. */
export class ConnectionDriver {
  /** @type {import("./websocket.js").Transport | null} */
  #transport = null;
  /** @type {import("./fallback.js").TransportKind} */
  #kind = "websocket";
  #timer = 0;
  #welcomeTimer = 0;
  #machine;
  #buffer;
  #key;
  #listener;

  /** @param {SendBuffer} buffer @param {Clock} clock @param {SessionKey} key the key, which the driver renews in time @param {DriverListener} listener */
  constructor(buffer, clock, key, listener) {
    this.#machine = new Connection(buffer.counts, seconds(), clock);
    this.#buffer = buffer;
    this.#key = key;
    this.#listener = listener;
    this.dropped = false;
  }

  get state() { return this.#machine.state; }

  /**
   * Open a transport, and send the hello.
   * @param {import("./fallback.js").TransportKind} kind @param {string} url
   * @param {boolean} explained true in the first attempts after a lost connection: the server may have
   *   stopped, so wait for the welcome for a shorter time, and do not blame the transport
   * @param {() => Parameters<Connection["hello"]>[0]} hello called when the transport is open
   */
  async open(kind, url, explained, hello) {
    this.#kind = kind;
    this.#limitWelcome(explained ? AGAIN_SECONDS : WELCOME_SECONDS[kind], explained);
    const greet = () => this.#transport?.send(this.#machine.hello(hello(), seconds()));
    const listener = {
      /** @param {string} frame */
      frame: (frame) => this.#receive(frame),
      /** @param {number} code @param {string} reason */
      close: (code, reason) => this.lost(code, reason),
      doubt: () => this.check(),
    };
    try {
      if (kind === "websocket") {
        this.#transport = new WebSocketTransport(url, greet, listener);
        return;
      }
      const { HttpTransport } = await import("./edge-http.js");
      if (this.dropped) return;
      this.#transport = new HttpTransport(url, kind, SUBPROTOCOL, listener);
      greet();
    } catch (error) {
      this.lost(Code.LOST, String(error));
    }
  }

  /** @param {string} frame */
  send(frame) {
    this.#transport?.send(frame);
  }

  /** Write a frame if it can be written at once. @param {string} frame @returns {boolean} false if the frame was dropped */
  sendNow(frame) {
    const idle = this.#transport?.idle === true;
    if (idle) this.send(frame);
    return idle;
  }

  /** Write the seat's unacknowledged frames to this transport. */
  replay() {
    if (this.#transport !== null) this.#buffer.replay(this.#transport);
  }

  /** Write the latest values that are not written yet, if they can be written at once. */
  writeLatest() {
    if (this.#machine.state === "open" && this.#transport?.idle) this.#buffer.writeLatest(this.#transport);
    this.#schedule();
  }

  /** Measure the room's clock: see `Connection.askClock`. */
  askClock() {
    if (this.#machine.askClock(seconds())) this.#schedule();
  }

  /** Find out within seconds whether the server is gone: see `Connection.check`. */
  check() {
    if (!this.dropped && this.#machine.check(seconds())) this.#tick();
  }

  /** @param {number} code @param {string} reason @param {EndDetails} [details] */
  lost(code, reason, details) {
    if (!this.dropped) this.#listener.lost(code, reason, details);
  }

  /** Close the transport, after a goodbye if it can still be sent. No callback is called afterwards. @param {number} code @param {string} reason */
  drop(code, reason) {
    this.dropped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#welcomeTimer);
    if (this.#transport === null) return;
    if (this.#machine.state !== "closed") this.send(this.#machine.bye(code, reason));
    this.#transport.close(code, reason);
  }

  /** End the connection unless its welcome arrives in time. @param {number} limit in seconds @param {boolean} explained see `open` */
  #limitWelcome(limit, explained) {
    clearTimeout(this.#welcomeTimer);
    this.#welcomeTimer = after(limit, () => this.lost(Code.SILENT, "no welcome", { explained }));
  }

  /** @param {string} frame */
  #receive(frame) {
    if (this.dropped) return;
    this.#guard(true, () => {
      const message = this.#machine.receive(frame, seconds());
      if (message?.kind === "welcome") {
        clearTimeout(this.#welcomeTimer);
        this.#listener.welcomed(message.welcome);
      } else if (message?.kind === "ping") {
        this.#limitWelcome(WELCOME_SECONDS[this.#kind], false); // the room is not ready yet
      } else if (message?.kind === "bye") {
        this.lost(message.code, message.reason, { explained: true, unconfirmed: message.unconfirmed, where: message.where });
      } else if (message !== null) {
        this.#listener.message(/** @type {import("./wire.js").Delivered} */ (message));
      }
      if (this.#machine.nextDue <= seconds()) this.#tick(); // browsers delay the timers of hidden pages
      else this.#schedule();
    });
  }

  /** Set the timer for the next ack, ping or renewal. */
  #schedule() {
    clearTimeout(this.#timer);
    if (this.dropped || this.#transport === null) return;
    const next = this.#machine.nextDue - seconds();
    const renewal = this.#key.renewAt - Date.now() / 1000;
    const wait = Math.min(next, renewal, this.#buffer.pending && this.#machine.state === "open" ? 0.05 : Infinity);
    if (wait < Infinity) this.#timer = after(Math.max(0, wait), () => this.#tick());
  }

  #tick() {
    if (this.dropped) return;
    this.#guard(false, () => {
      for (const frame of this.#machine.due(seconds())) this.send(frame);
      this.writeLatest();
      this.#key.renew().then(() => this.#schedule());
    });
  }

  /** Run a function. If it throws a `ProtocolError`, end the connection. @param {boolean} explained @param {() => void} run */
  #guard(explained, run) {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.lost(error.code, error.message, { explained });
    }
  }
}
