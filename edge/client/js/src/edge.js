// @ts-check
/**
 * edge's client for browsers. `/edge.js` is this module with all that it imports, in one file.
 *
 *     import { join } from "./edge.js";
 *     const room = join("rooms/drawing/one", { name: "ana" });
 *     room.on("turn:started", (event) => ...);
 *     room.send("turn:done", { drawing });
 *
 * A room uses a WebSocket, and if that is blocked, plain HTTP: `edge-http.js`, beside this file, is loaded then. The protocol is
 * described in docs/wire.md.
 */
export { Code, retryAfter, VERSION } from "./constants.js";
export { RequestFailed } from "./requests.js";
export { join, Room } from "./room.js";
export { recall, remember } from "./storage.js";
