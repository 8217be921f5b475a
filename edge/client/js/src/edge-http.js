// @ts-check
/**
 * The HTTP transport, for networks that block WebSocket. `edge.js` loads this file only if it is needed.
 *
 * The page sends its frames with POST requests, and gets the room's frames with GET requests. In mode "stream", the response to
 * a GET continues until its time limit. In mode "poll", the server delays the response until there is a frame. Both sides count
 * the frames. Therefore, each request can be repeated, and each response may end anywhere. See docs/wire.md.
 */
import { HTTP } from "./constants.js";
import { randomName } from "./random.js";

/** @typedef {import("./websocket.js").TransportListener} TransportListener */

const KEEPALIVE_BYTES = 60_000; // browsers limit the bodies that a closing page sends to 64 KiB in total

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** A parser of records, for a body that arrives in parts. A record is a letter, a number, a line feed and a payload. */
export class Records {
  #buffer = new Uint8Array(0);

  /** Add the next part of the body, and yield the records that are complete. @param {Uint8Array} data @returns {Generator<{frame: string} | {closed: number}>} */
  *feed(data) {
    this.#buffer = joined([this.#buffer, data]);
    for (;;) {
      const end = this.#buffer.indexOf(10);
      if (end < 0 && this.#buffer.length >= HTTP.recordHeadBytes) throw new Error("the response holds no record");
      if (end < 0) return;
      const head = /^([tck])(\d+)$/.exec(decoder.decode(this.#buffer.subarray(0, end)));
      if (head === null) throw new Error("the response holds no record");
      const length = head[1] === "t" ? Number(head[2]) : 0;
      if (this.#buffer.length < end + 1 + length) return;
      const payload = this.#buffer.subarray(end + 1, end + 1 + length);
      this.#buffer = this.#buffer.slice(end + 1 + length);
      if (head[1] === "c") yield { closed: Number(head[2]) };
      else if (head[1] === "t") yield { frame: decoder.decode(payload) };
    }
  }
}

/** The error for a request that the server refused with one of edge's codes. */
class Refusal extends Error {
  /** @param {number} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Plain HTTP requests as a transport. */
export class HttpTransport {
  /** @type {Uint8Array[]} */
  #outbox = [];
  #sent = 0;
  #received = 0;
  #closed = false;
  /** Ends the wait for frames in `#post`. */
  #wake = () => {};
  #abort = new AbortController();
  #url;
  #mode;
  #headers;
  #listener;

  /** @param {string} url @param {"stream" | "poll"} mode @param {string} protocol @param {TransportListener} listener */
  constructor(url, mode, protocol, listener) {
    this.#url = url;
    this.#mode = mode;
    this.#headers = { "edge-connection": randomName(), "edge-protocol": protocol };
    this.#listener = listener;
    this.#repeat(() => this.#get());
    this.#repeat(() => this.#post());
  }

  /** True if a frame that is sent now does not wait behind other frames. */
  get idle() { return this.#outbox.length === 0; }

  /** @param {string} frame */
  send(frame) {
    const payload = encoder.encode(frame);
    this.#outbox.push(joined([encoder.encode(`t${payload.length}\n`), payload]));
    this.#wake();
  }

  /** Send the remaining frames, if one request can hold them, and the close code. Do not wait, because the page may be closing. @param {number} code */
  close(code) {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.#wake();
    const goodbye = encoder.encode(`c${code}\n`);
    const all = joined([...this.#outbox, goodbye]);
    const body = all.length <= HTTP.postBytes ? all : goodbye; // the server refuses a larger body
    fetch(this.#url, { ...this.#posting(body), keepalive: body.length < KEEPALIVE_BYTES }).catch(() => {});
  }

  /** Make requests one after the other, until the transport ends. Too many failures in a row end it. @param {() => Promise<void>} request */
  async #repeat(request) {
    let failures = 0;
    while (!this.#closed) {
      const before = this.#received + this.#sent;
      try {
        await request();
        failures = 0;
      } catch (error) {
        if (this.#closed) return;
        failures = this.#received + this.#sent > before ? 0 : failures + 1;
        if (error instanceof Refusal) this.#end(error.code, error.message);
        else if (failures >= HTTP.maxFailures) this.#end(HTTP.lost, String(error));
        else {
          this.#listener.doubt(); // the server may be gone
          await pause(HTTP.pauseSeconds * 2 ** failures);
        }
      }
    }
  }

  async #get() {
    const [began, before] = [performance.now(), this.#received];
    const deadline = new Deadline(this.#abort.signal, HTTP.holdSeconds + HTTP.requestSeconds);
    try {
      const headers = { ...this.#headers, "edge-mode": this.#mode, "edge-has": String(this.#received) };
      const response = await fetch(this.#url, { headers, cache: "no-store", signal: deadline.signal });
      await check(response, "application/octet-stream");
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      const records = new Records();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#closed) break;
        deadline.renew();
        for (const item of records.feed(value)) this.#take(item);
      }
    } finally {
      deadline.end();
    }
    // pause after a fast response without frames, because a proxy may answer every request at once
    if (this.#received === before && performance.now() - began < HTTP.pauseSeconds * 1000) await pause(HTTP.pauseSeconds);
  }

  async #post() {
    if (this.#outbox.length === 0) {
      await new Promise((resolve) => { this.#wake = () => resolve(undefined); });
      if (this.#closed) return;
    }
    const first = this.#sent;
    let size = 0;
    const some = this.#outbox.filter((part, index) => (size += part.length) <= HTTP.postBytes || index === 0);
    const deadline = new Deadline(this.#abort.signal, HTTP.requestSeconds);
    try {
      const response = await fetch(this.#url, { ...this.#posting(joined(some)), signal: deadline.signal });
      await check(response, "text/plain");
      const count = Number(await response.text());
      if (!Number.isInteger(count) || count < first || count > first + this.#outbox.length) throw new Error("the response is not a valid count of frames");
      this.#outbox.splice(0, count - first);
      this.#sent = count;
      if (count === first) await pause(HTTP.pauseSeconds); // the room does not read at the moment
    } finally {
      deadline.end();
    }
  }

  /** @param {Uint8Array<ArrayBuffer>} body @returns {RequestInit} */
  #posting(body) {
    const counts = { "edge-first": String(this.#sent), "edge-has": String(this.#received) };
    const headers = { ...this.#headers, ...counts, "content-type": "application/octet-stream" };
    return { method: "POST", headers, body, cache: "no-store" };
  }

  /** @param {{frame: string} | {closed: number}} item */
  #take(item) {
    if (this.#closed) return;
    if ("closed" in item) {
      this.#end(item.closed, "");
      return;
    }
    this.#received += 1;
    this.#listener.frame(item.frame);
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.#wake();
    this.#listener.close(code, reason);
  }
}

/** A signal that aborts when the signal `outer` aborts, or when it was not renewed for `seconds`. */
class Deadline {
  #abort = new AbortController();
  #timer = 0;
  #seconds;
  #outer;
  #follow = () => this.#abort.abort();

  /** @param {AbortSignal} outer @param {number} seconds */
  constructor(outer, seconds) {
    this.#seconds = seconds;
    this.#outer = outer;
    outer.addEventListener("abort", this.#follow);
    this.renew();
  }

  get signal() { return this.#abort.signal; }

  renew() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#abort.abort(), this.#seconds * 1000);
  }

  end() {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#follow);
  }
}

/** Throw an error unless an edge server accepted the request. The login page of a proxy has another content type. @param {Response} response @param {string} type */
async function check(response, type) {
  const code = Number(response.headers.get("edge-code") ?? NaN);
  if (Number.isInteger(code)) throw new Refusal(code, (await response.json()).message);
  const ours = response.status === 200 && response.headers.get("content-type")?.startsWith(type);
  if (!ours) throw new Error(`HTTP ${response.status}`);
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {number} seconds */
function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
