// @ts-check
import { Code, WINDOW_BYTES, WINDOW_FRAMES } from "./constants.js";
import { bytesOf, ProtocolError } from "./wire.js";

/** The numbers of counted messages that were sent and received across connections, and the frames stored for a resume. */
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

  /** Delete the stored frames up to number `count`, which the server has acknowledged. @param {number} count */
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
