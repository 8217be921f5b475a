// @ts-check
/** The constants that Python and JavaScript share. `make client` writes this module: do not edit it. */

/** Why a connection or a seat ended: the codes of goodbyes, also WebSocket close codes. */
export const Code = /* @__PURE__ */ Object.freeze({ LOST: 4000, OVERFLOW: 4001, SILENT: 4002, STALLED: 4003, KEY_EXPIRED: 4004, CROWDED: 4005, MOVED: 4006, CUT_OFF: 4007, INTERNAL_ERROR: 4008, DRAINING: 4100, MISCOUNT: 4101, BEHIND: 4102, ROOM_CRASHED: 4103, LATE: 4104, CLOSING: 4105, EXPIRED: 4106, LEFT: 4200, VERSION: 4201, MALFORMED: 4202, TOO_LARGE: 4203, NO_ROOM: 4204, KEY_INVALID: 4205, REVOKED: 4206, REPLAYED: 4207, FOREIGN_ORIGIN: 4208, FLOODING: 4209, FULL: 4210, LOCKED: 4211, ROOM_EXISTS: 4212, REFUSED: 4213, BAD_OPTIONS: 4214, REPLACED: 4220, KICKED: 4221, CRASHED: 4222, ROOM_CLOSED: 4223 });

/** The reaction to a code, by its first two digits. @type {Record<string, "resume" | "fresh" | "never">} */
const RETRY = { 40: "resume", 41: "fresh", 42: "never" };

/** The reaction to a code: resume the seat, start fresh, or never reconnect. @param {number} code */
export function retryAfter(code) {
  const hundred = code === 1009 ? 42 : Math.floor(code / 100);
  return RETRY[hundred] ?? "resume";
}

/** @typedef {"silent" | "greeted" | "open" | "closed"} ConnectionState */
/** The state after each message, by the state before it.
 * @type {Record<string, Record<string, ConnectionState>>} */
export const CONVERSATION = { silent: { hello: "greeted", bye: "closed" }, greeted: { ping: "greeted", welcome: "open", bye: "closed" }, open: { event: "open", request: "open", reply: "open", part: "open", cancel: "open", error: "open", patch: "open", ack: "open", ping: "open", bye: "closed" }, closed: {} };
/** The sender of each message that only one side may send. @type {Record<string, string>} */
export const SENDER = { hello: "client", welcome: "server", patch: "server" };

export const VERSION = 1;
export const LIMITS = { heartbeat: 20, deadAfter: 30, ackFrames: 32, ackBytes: 65536, messageBytes: 65536 };
export const WINDOW_FRAMES = 2048;
export const WINDOW_BYTES = 524288;
export const ACK_SECONDS = 0.5;
export const MAX_NAME_BYTES = 512;
export const MAX_OPTIONS_BYTES = 1024;
export const CHECK_SECONDS = 3;
export const MAX_PINGED = 8;
export const CLOCK_SECONDS = 0.25;
export const CLOCK_SAMPLES = 8;
export const CLOCK_SLEW = 0.1;
export const CLOCK_JUMP = 1;
export const CLOCK_DRIFT = 0.02;
export const WELCOME_SECONDS = { websocket: 5, stream: 5, poll: 10 };
export const STABLE_SECONDS = 5;
export const MAX_STRIKES = 2;
export const UPWARD_SECONDS = 10;
export const HELD_SECONDS = 300;
export const MAX_UPWARD_SECONDS = 3600;
export const PROBE_SECONDS = 10;
export const AGAIN_SECONDS = 4;
export const AGAIN_ATTEMPTS = 2;
export const KEY_FUNCTION_SECONDS = 20;
export const MAX_REPORTED = 256;
export const SHORTEST_WAIT = 0.5;
export const LONGEST_WAIT = 30;
export const HTTP = { lost: 4000, holdSeconds: 27.5, requestSeconds: 10, pauseSeconds: 0.2, maxFailures: 3, postBytes: 262144, recordHeadBytes: 16 };
