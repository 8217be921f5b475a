// @ts-check
import { Code, WINDOW_BYTES, WINDOW_FRAMES } from "./constants.js";
import { bytesOf, ProtocolError } from "./wire.js";

/** The counts of sent and received messages of one seat across connections, and the frames that are stored for a resume. */
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

  /** Delete the first `count` frames since the fresh start, which the server has acknowledged. @param {number} count */
  acknowledge(count) {
    if (!(count >= this.acked && count <= this.sent)) {
      throw new ProtocolError(`${count} frames were acknowledged, after ${this.acked}: ${this.sent} were sent`, Code.MISCOUNT);
    }
    for (const frame of this.unacked.splice(0, count - this.acked)) this.bytes -= bytesOf(frame);
  }

  startFresh() {
    this.sent = this.received = this.bytes = 0;
    this.unacked = [];
  }
}
