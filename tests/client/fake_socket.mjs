// A fake WebSocket for rooms of edge.js in node. A test reads the frames that the room sent, and injects frames for the room.
export const WELCOME = { resumed: false, why: "new", received: 0, number: 0, heartbeat: 20, dead_after: 30 };

export class FakeSocket extends EventTarget {
  static OPEN = 1;
  /** @type {FakeSocket | null} */
  static newest = null;
  readyState = 0;
  bufferedAmount = 0;
  sent = [];
  constructor() {
    super();
    FakeSocket.newest = this;
    setTimeout(() => {
      this.readyState = 1;
      this.#tell("open", {});
    });
  }
  send(frame) { this.sent.push(frame); }
  close() { this.readyState = 3; }
  say(frame) { this.#tell("message", { data: typeof frame === "string" ? frame : JSON.stringify(frame) }); }
  break() { this.#tell("close", { code: 1006, reason: "" }); }
  #tell(kind, fields) {
    const event = Object.assign(new Event(kind), fields);
    this[`on${kind}`]?.(event);
    this.dispatchEvent(event);
  }
}

globalThis.WebSocket = FakeSocket;
globalThis.location ??= new URL("http://edge.test/");

/** Wait until a newer socket than `before` has sent its first frame, the hello. @param {FakeSocket | null} [before] */
export async function greeted(before = null) {
  while (FakeSocket.newest === before || !(FakeSocket.newest?.sent.length > 0)) await new Promise((resolve) => setTimeout(resolve));
  return FakeSocket.newest;
}
