// @ts-check
import { after } from "./time.js";
import { checkEventName } from "./wire.js";

/** @typedef {{name: string, body: any}} Answer */
/** `signal`: cancels the request when it aborts. `seconds`: the time after which the request is cancelled. @typedef {{signal?: AbortSignal, seconds?: number}} RequestOptions */
/** @typedef {(body: any, options: {signal: AbortSignal}) => [string, any] | Promise<[string, any]>} Answerer */

/** The error for a request that failed or was cancelled. `problem` is the reason: see docs/wire.md. `data` has the details of a refusal. */
export class RequestFailed extends Error {
  /** @param {string} problem @param {string} message @param {[string, any] | null} [data] the name and the body of an event */
  constructor(problem, message, data = null) {
    super(message);
    this.name = "RequestFailed";
    this.problem = problem;
    /** @type {Answer | null} */
    this.data = data && { name: data[0], body: data[1] };
  }
}

/** The answers to one request as they arrive: `for await (const { name, body } of ...)`. Leaving the loop cancels the request. */
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
 * The functions with which `Requests` sends messages. `frame` returns the frame of a message, and throws a `RangeError` if the
 * message is too large. `sendCounted` sends a frame. `closed` returns the reason why nothing can be sent any more, or null.
 * @typedef {{frame: (message: any[]) => string, sendCounted: (frame: string) => void, closed: () => string | null}} Sender
 */

/** Tracks the unanswered requests of the page and of the room. */
export class Requests {
  /** The unanswered requests of the page, by number. @type {Map<number, {part: (answer: Answer) => void, end: (answer: Answer | null, fault: Error | null) => void}>} */
  #sent = new Map();
  /** Functions that limit the time for the unanswered requests of the room, by number. @type {Map<number, (wait: number) => void>} */
  #received = new Map();
  /** @type {Map<string, Answerer>} */
  #answerers = new Map();
  #newest = 0;
  /** The number of seats that this page has lost in the room. The page's answers to requests of a lost seat are dropped. */
  #seat = 0;
  #sender;

  /** @param {Sender} sender */
  constructor(sender) {
    this.#sender = sender;
  }

  /** See `Room.request`. @param {string} name @param {object} body @param {RequestOptions} options @returns {Promise<Answer>} */
  request(name, body, options) {
    return new Promise((resolve, reject) => {
      const stop = this.#ask(name, body, options, (answer) => {
        resolve(answer); // the first of several answers is the result
        stop();
      }, (answer, fault) => {
        if (fault !== null) reject(fault);
        else if (answer === null || answer.name === "") reject(new RequestFailed("unanswered", "the room has no answer"));
        else resolve(answer);
      });
    });
  }

  /** See `Room.stream`. @param {string} name @param {object} body @param {RequestOptions} options */
  stream(name, body, options) {
    /** @type {() => void} */
    let stop = () => {};
    const replies = new Replies(() => stop());
    stop = this.#ask(name, body, options, (answer) => replies.give(answer), (answer, fault) => {
      if (answer !== null && answer.name !== "") replies.give(answer);
      replies.end(fault);
    });
    return replies;
  }

  /** See `Room.answer`. @param {string} name @param {Answerer} answerer */
  answerWith(name, answerer) {
    this.#answerers.set(name, answerer);
  }

  /** Handle a message of the room that belongs to a request. @param {import("./wire.js").Delivered} message */
  receive(message) {
    if (message.kind === "request") {
      this.#answer(message.name, message.body, message.id, message.seconds);
    } else if (message.kind === "cancel") {
      this.#received.get(message.id)?.(message.seconds ?? 0);
    } else if (message.kind === "part") {
      this.#sent.get(message.id)?.part({ name: message.name, body: message.body });
    } else if (message.kind === "reply") {
      this.#sent.get(message.id)?.end({ name: message.name, body: message.body }, null);
    } else if (message.kind === "error" && message.id !== null) {
      this.#sent.get(message.id)?.end(null, new RequestFailed(message.problem, message.message, message.data));
    }
  }

  /** End all requests of both sides, because the seat is lost. @param {string} reason */
  loseSeat(reason) {
    this.#seat += 1;
    for (const { end } of [...this.#sent.values()]) end(null, new RequestFailed("gone", reason));
    for (const limit of this.#received.values()) limit(0);
  }

  /**
   * Send a request. Returns a function that cancels the request.
   * @param {string} name @param {object} body @param {RequestOptions} options @param {(answer: Answer) => void} part called for each of several answers
   * @param {(answer: Answer | null, fault: Error | null) => void} end called once, with the last answer or an error @returns {() => void}
   */
  #ask(name, body, { signal, seconds }, part, end) {
    signal?.throwIfAborted();
    checkEventName(name);
    if (seconds !== undefined && !(Number.isFinite(seconds) && seconds >= 0)) throw new TypeError(`seconds must be a finite number, 0 or more, not ${seconds}`);
    const closed = this.#sender.closed();
    if (closed !== null) {
      end(null, new RequestFailed("gone", closed));
      return () => {};
    }
    const id = this.#newest + 1;
    const frame = this.#sender.frame(seconds === undefined ? [name, body, id] : [name, body, id, seconds]);
    this.#newest = id;
    /** @param {string} text */
    const cancel = (text) => {
      const request = this.#sent.get(id);
      if (request === undefined) return;
      if (this.#sender.closed() === null) this.#sender.sendCounted(this.#sender.frame(["-", null, id]));
      request.end(null, new RequestFailed("cancelled", text));
    };
    const abort = () => cancel("the request was aborted");
    const timer = seconds === undefined ? 0 : after(seconds, () => cancel(`no answer within ${seconds} s`));
    signal?.addEventListener("abort", abort);
    this.#sent.set(id, {
      part,
      end: (answer, fault) => {
        this.#sent.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        end(answer, fault);
      },
    });
    this.#sender.sendCounted(frame);
    return abort;
  }

  /** Answer a request of the room. @param {string} name @param {any} body @param {number} id @param {number | null} seconds */
  async #answer(name, body, id, seconds) {
    const answerer = this.#answerers.get(name);
    const seat = this.#seat;
    const abort = new AbortController();
    let timer = 0;
    /** @param {number} wait in seconds */
    const limit = (wait) => {
      clearTimeout(timer);
      if (wait > 0) timer = after(wait, () => abort.abort());
      else abort.abort();
    };
    this.#received.set(id, limit);
    if (seconds !== null) limit(seconds);
    /** @type {any[]} */
    let reply = ["!not_now", { message: "the page has no handler for this request", about: name }, id];
    try {
      const answer = await answerer?.(body, { signal: abort.signal });
      if (answer) {
        checkEventName(Array.isArray(answer) ? answer[0] : undefined);
        reply = [`=${answer[0]}`, answer[1], id];
      }
      this.#sender.frame(reply); // throws if the answer can't be sent, so that the room gets an error instead
    } catch (error) {
      if (!abort.signal.aborted) console.error(error);
      reply = ["!crashed", { message: "the handler of this request failed", about: name }, id];
    }
    clearTimeout(timer);
    if (this.#received.get(id) === limit) this.#received.delete(id);
    if (this.#sender.closed() !== null || seat !== this.#seat) return;
    if (abort.signal.aborted) reply = ["!cancelled", { message: "the request was cancelled", about: name }, id];
    this.#sender.sendCounted(this.#sender.frame(reply));
  }
}
