// @ts-check
import { LIMITS } from "./constants.js";
import { Counts } from "./counts.js";
import { bytesOf, encode } from "./wire.js";

/** @typedef {import("./websocket.js").Transport} Transport */

/** The messages of this page to one room, stored across connections. */
export class SendBuffer {
  /** The newest frame of each latest value, by key. @type {Map<string, string>} */
  #latest = new Map();
  /** The keys of the latest values that are not written yet. @type {Set<string>} */
  #unwritten = new Set();

  constructor() {
    this.counts = new Counts();
    /** The size of the largest message that the room reads, in bytes. */
    this.maxBytes = LIMITS.messageBytes;
  }

  /** True if a latest value waits to be written. */
  get pending() { return this.#unwritten.size > 0; }

  /** Return the frame of a message. Throws a `RangeError` if it is larger than the room reads. @param {any[]} message @returns {string} */
  frame(message) {
    const frame = encode(message);
    const size = bytesOf(frame);
    if (size <= this.maxBytes) return frame;
    throw new RangeError(`${message[0]} is ${size} bytes, and the room reads ${this.maxBytes} at most`);
  }

  /** @param {string} key @param {string} frame */
  setLatest(key, frame) {
    this.#latest.set(key, frame);
    this.#unwritten.add(key);
  }

  /** Write the latest values that are not written yet. @param {Transport} transport */
  writeLatest(transport) {
    for (const key of this.#unwritten) transport.send(this.#latest.get(key) ?? "");
    this.#unwritten.clear();
  }

  /** Write the unacknowledged frames to a new transport, and mark all latest values as not written. @param {Transport} transport */
  replay(transport) {
    this.#unwritten = new Set(this.#latest.keys());
    for (const frame of this.counts.unacked) transport.send(frame);
  }

  /** Delete all stored messages, because the seat is lost. */
  startFresh() {
    this.counts.startFresh();
    this.#latest.clear();
    this.#unwritten.clear();
  }
}
