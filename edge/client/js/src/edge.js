// @ts-check
/**
 * edge's client for browsers. `/edge.js` is one file, bundled from this module and its imports.
 *
 *     import { join } from "./edge.js";
 *     const room = join("rooms/drawing/one", { name: "ana" });
 *     room.on("turn:started", (event) => ...);
 *     room.send("turn:done", { drawing });
 *
 * A room uses a WebSocket. If WebSocket is blocked, the client loads `edge-http.js` from the same directory and uses plain HTTP.
 * docs/wire.md describes the protocol.
 */
export { Code, retryAfter, VERSION } from "./constants.js";
export { RequestFailed } from "./requests.js";
export { join, Room } from "./room.js";
export { recall, remember } from "./storage.js";
