// @ts-check
/** Types of rooms, which `edge export typescript` writes. This module has no code. */

/** The types of one kind of room. @typedef {{sends: object, receives: object, state: object, options: any}} RoomTypes */

/**
 * An event that clients of a room receive.
 * @template {RoomTypes} K
 * @typedef {{[N in keyof K["receives"] & string]: {name: N, body: K["receives"][N]}}[keyof K["receives"] & string]} Received
 */

export {};
