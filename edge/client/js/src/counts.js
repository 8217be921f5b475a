// @ts-check
import { Code, WINDOW_BYTES, WINDOW_FRAMES } from "./constants.js";
import { bytesOf, ProtocolError } from "./wire.js";

/** The counts that both sides keep across connections, and the window of frames that can be sent again. */
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

  /** Count a frame as sent, and store it until it is acknowledged. @param {string} frame */
  record(frame) {
    this.sent += 1;
    this.unacked.push(frame);
    this.bytes += bytesOf(frame);
  }

  /** Forget the first `count` frames, which the server has. @param {number} count */
  acknowledge(count) {
    if (!(count >= this.acked && count <= this.sent)) {
      throw new ProtocolError(`acknowledged ${count} of ${this.sent} frames, ${this.acked} before`, Code.MISCOUNT);
    }
    for (const frame of this.unacked.splice(0, count - this.acked)) this.bytes -= bytesOf(frame);
  }

  startFresh() {
    this.sent = this.received = this.bytes = 0;
    this.unacked = [];
  }
}
