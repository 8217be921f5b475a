// @ts-check
/** Types of rooms, which `edge export typescript` writes. This module has no code. */

/** The types of one kind of room. @typedef {{sends: object, receives: object, state: object, options: any}} RoomTypes */
/** Those of a kind that can be joined without options. @typedef {RoomTypes & {needsOptions?: never}} OpenTypes */

/**
 * The names and bodies of what edge.js itself reports: see `Room`.
 * @typedef {{$status: import("./reconnecting.js").Status, $welcome: import("./wire.js").Welcome, $patch: any, $outdated: any,
 *   $error: import("./room.js").Refusal}} Reports
 */

/**
 * An event that clients of a room receive.
 * @template {RoomTypes} K
 * @typedef {{[N in keyof K["receives"] & string]: {name: N, body: K["receives"][N]}}[keyof K["receives"] & string]} Received
 */

/**
 * The names of the events that clients of a room may send without a body.
 * @template {RoomTypes} K
 * @typedef {{[N in keyof K["sends"] & string]: {} extends K["sends"][N] ? N : never}[keyof K["sends"] & string]} Bodiless
 */

/**
 * An answer to a request of a room: an event that its clients send.
 * @template {RoomTypes} K
 * @typedef {{[N in keyof K["sends"] & string]: [name: N, body: K["sends"][N]]}[keyof K["sends"] & string]} Answered
 */

export {};
