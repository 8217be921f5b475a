// @ts-check
/**
 * The HTTP transport, for networks that block WebSocket. `edge.js` loads it when it is needed.
 *
 * Frames are posted, and got: in mode "stream" the response to a GET goes on for as long as it is let, in mode "poll" it is
 * held until there is something to say. Both ends count the frames, so every request can be made again, and a response
 * may break off anywhere. See docs/wire.md.
 */

/**
 * What a transport tells its room: `frame` for each frame, `close` once, and `doubt` when the server may have gone unnoticed.
 * @typedef {{frame: (frame: string) => void, close: (code: number, reason: string) => void, doubt: () => void}} Listener
 */

const LOST = 4000;
const HOLD_SECONDS = 27.5; // the server holds a GET no longer
const REQUEST_SECONDS = 10;
const MAX_FAILURES = 3;
const PAUSE_SECONDS = 0.2;
const POST_BYTES = 256 * 1024;
const MAX_HEAD_BYTES = 16;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads records, a letter, a number and a line feed, from pieces of a body. */
export class Records {
  #buffer = new Uint8Array(0);

  /** What is whole by now. @param {Uint8Array} data @returns {Generator<{frame: string} | {closed: number}>} */
  *feed(data) {
    this.#buffer = joined([this.#buffer, data]);
    for (;;) {
      const end = this.#buffer.indexOf(10);
      if (end < 0 && this.#buffer.length >= MAX_HEAD_BYTES) throw new Error("not a record");
      if (end < 0) return;
      const head = /^([tck])(\d+)$/.exec(decoder.decode(this.#buffer.subarray(0, end)));
      if (head === null) throw new Error("not a record");
      const length = head[1] === "t" ? Number(head[2]) : 0;
      if (this.#buffer.length < end + 1 + length) return;
      const payload = this.#buffer.subarray(end + 1, end + 1 + length);
      this.#buffer = this.#buffer.slice(end + 1 + length);
      if (head[1] === "c") yield { closed: Number(head[2]) };
      else if (head[1] === "t") yield { frame: decoder.decode(payload) };
    }
  }
}

/** The server said no, with a code of edge's own. */
class Refusal extends Error {
  /** @param {number} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class HttpTransport {
  /** @type {Uint8Array[]} */
  #going = [];
  #gone = 0;
  #received = 0;
  /** @type {number | null} */
  #goodbye = null;
  #over = false;
  /** Ends what waits: both loops look again. */
  #wake = () => {};
  #abort = new AbortController();
  #url;
  #mode;
  #headers;
  #on;

  /** @param {string} url @param {"stream" | "poll"} mode @param {string} protocol @param {Listener} on */
  constructor(url, mode, protocol, on) {
    this.#url = url;
    this.#mode = mode;
    this.#headers = { "edge-connection": randomName(), "edge-protocol": protocol };
    this.#on = on;
    this.#repeat(() => this.#get());
    this.#repeat(() => this.#post());
  }

  /** Whether what is sent now is written now. */
  get idle() { return this.#going.length === 0; }

  /** @param {string} frame */
  send(frame) {
    const payload = encoder.encode(frame);
    this.#going.push(joined([encoder.encode(`t${payload.length}\n`), payload]));
    this.#wake();
  }

  /** Say what is left to say, and a goodbye, without waiting for it: the page may be closing. @param {number} code */
  close(code) {
    if (this.#over) return;
    this.#over = true;
    this.#abort.abort();
    this.#wake();
    const goodbye = encoder.encode(`c${code}\n`);
    const all = joined([...this.#going, goodbye]);
    const body = all.length <= POST_BYTES ? all : goodbye; // one body only, and more of it would be refused
    // a browser lets a page that closes send 64 KiB at most
    fetch(this.#url, { ...this.#posting(body), keepalive: body.length < 60_000 }).catch(() => {});
  }

  /** Make requests one after the other; too many in a row that bring nothing end the transport. @param {() => Promise<void>} request */
  async #repeat(request) {
    let failures = 0;
    while (!this.#over) {
      const before = this.#received + this.#gone;
      try {
        await request();
        failures = 0;
      } catch (error) {
        if (this.#over) return;
        failures = this.#received + this.#gone > before ? 0 : failures + 1;
        if (error instanceof Refusal) this.#end(error.code, error.message);
        else if (failures >= MAX_FAILURES) this.#end(LOST, String(error));
        else {
          this.#on.doubt(); // the server may have died, and who is asked next be stopped
          await pause(PAUSE_SECONDS * 2 ** failures);
        }
      }
    }
  }

  async #get() {
    const [began, before] = [performance.now(), this.#received];
    const deadline = new Deadline(this.#abort.signal, HOLD_SECONDS + REQUEST_SECONDS);
    try {
      const headers = { ...this.#headers, "edge-mode": this.#mode, "edge-has": String(this.#received) };
      const response = await fetch(this.#url, { headers, cache: "no-store", signal: deadline.signal });
      await check(response, "application/octet-stream");
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      const records = new Records();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#over) break;
        deadline.renew();
        for (const item of records.feed(value)) this.#take(item);
      }
    } finally {
      deadline.end();
    }
    // something on the way answers in the server's place
    if (this.#received === before && performance.now() - began < PAUSE_SECONDS * 1000) await pause(PAUSE_SECONDS);
  }

  async #post() {
    if (this.#going.length === 0) {
      await new Promise((resolve) => { this.#wake = () => resolve(undefined); });
      if (this.#over) return;
    }
    const first = this.#gone;
    let size = 0;
    const some = this.#going.filter((part, index) => (size += part.length) <= POST_BYTES || index === 0);
    const deadline = new Deadline(this.#abort.signal, REQUEST_SECONDS);
    try {
      const response = await fetch(this.#url, { ...this.#posting(joined(some)), signal: deadline.signal });
      await check(response, "text/plain");
      const count = Number(await response.text());
      if (!Number.isInteger(count) || count < first || count > first + this.#going.length) throw new Error("not a count");
      this.#going.splice(0, count - first);
      this.#gone = count;
      if (count === first) await pause(PAUSE_SECONDS); // the room is busy
    } finally {
      deadline.end();
    }
  }

  /** @param {Uint8Array<ArrayBuffer>} body @returns {RequestInit} */
  #posting(body) {
    const counts = { "edge-first": String(this.#gone), "edge-has": String(this.#received) };
    const headers = { ...this.#headers, ...counts, "content-type": "application/octet-stream" };
    return { method: "POST", headers, body, cache: "no-store" };
  }

  /** @param {{frame: string} | {closed: number}} item */
  #take(item) {
    if (this.#over) return;
    if ("closed" in item) {
      this.#end(item.closed, "");
      return;
    }
    this.#received += 1;
    this.#on.frame(item.frame);
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#over) return;
    this.#over = true;
    this.#abort.abort();
    this.#wake();
    this.#on.close(code, reason);
  }
}

/** A signal that aborts when another does, or when nothing has happened for so many seconds. */
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

/** Whether this is an answer of the server's; a page that tells people to log in is of another type. @param {Response} response @param {string} type */
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

/** 128 random bits, as text. */
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} seconds */
function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
