// @ts-check
/** Frames and messages: see docs/wire.md. */
import { Code, VERSION } from "./constants.js";

/**
 * @typedef {{resumed: boolean, why: string, received: number, number: number, guest?: boolean, heartbeat: number,
 *   dead_after: number, ack_frames?: number, ack_bytes?: number, now?: number, message_bytes?: number, vocabulary?: string,
 *   documents?: string[]}} Welcome
 * @typedef {{kind: "event" | "patch", name: string, body: any, counted: boolean, more?: number}
 *   | {kind: "request", name: string, body: any, id: number, seconds: number | null}
 *   | {kind: "reply" | "part", name: string, body: any, id: number}
 *   | {kind: "cancel", id: number, seconds: number | null}
 *   | {kind: "error", problem: string, message: string, about: string, id: number | null, data: any}} Delivered
 * @typedef {Delivered | {kind: "welcome", welcome: Welcome}
 *   | {kind: "bye", code: number, reason: string, where: string, unconfirmed: boolean}
 *   | {kind: "ack", count: number, asked: number | undefined, told: number | undefined}
 *   | {kind: "ping", count: number, asked: number | undefined}} Message
 */

/** The name of the protocol, as a WebSocket subprotocol. */
export const SUBPROTOCOL = `edge.${VERSION}.json`;

/** The error for a broken rule of the protocol, or for a refused key. `code` is the code of the goodbye or the refusal. */
export class ProtocolError extends Error {
  /** @param {string} message @param {number} [code] */
  constructor(message, code = Code.MALFORMED) {
    super(message);
    this.code = code;
  }
}

const encoder = new TextEncoder();

/** Return the size of a frame in bytes. @param {string} frame */
export function bytesOf(frame) {
  return encoder.encode(frame).length;
}

/** Return a value as JSON. A lone surrogate becomes U+FFFD, because UTF-8 can't encode it. @param {unknown} value @returns {string} */
export function encode(value) {
  const text = JSON.stringify(value);
  return text.includes("\\ud") ? text.replace(/\\\\|\\ud[89a-f]../g, (sign) => (sign.length === 2 ? sign : "\ufffd")) : text;
}

/** Throw a `TypeError` unless an event can have this name. @param {unknown} name */
export function checkEventName(name) {
  if (typeof name !== "string" || !/^\p{L}/u.test(name)) throw new TypeError(`the name of an event must begin with a letter: ${name}`);
}

/** Read a frame. Throws a `ProtocolError` if the frame is not a message. @param {string} frame @returns {Message} */
export function decode(frame) {
  let plain;
  try {
    plain = JSON.parse(frame);
  } catch {
    throw new ProtocolError("a frame is not JSON");
  }
  const [name, body, id, seconds] = Array.isArray(plain) ? plain : [];
  const wellFormed = typeof name === "string" && name !== "" && 2 <= plain.length && plain.length <= 4;
  const isNumber = name?.[0] === "$" ? Number.isFinite : Number.isInteger;
  if (!wellFormed || (id !== undefined && !isNumber(id))) throw new ProtocolError("a frame is not a message");
  const [sign, rest] = [name[0], name.slice(1)];
  if (sign === "$") return control(rest, body, id, seconds);
  if (sign === "~" || sign === "^") return { kind: sign === "~" ? "event" : "patch", name: rest, body, counted: false, more: id };
  if (sign === "!") {
    const { message = "", about = "", data = null } = body ?? {};
    return { kind: "error", problem: rest, message, about, id: id ?? null, data };
  }
  if (id === undefined) return { kind: "event", name, body, counted: true };
  if (sign === "=") return { kind: "reply", name: rest, body, id };
  if (sign === "+") return { kind: "part", name: rest, body, id };
  if (sign === "-") return { kind: "cancel", id, seconds: body };
  return { kind: "request", name, body, id, seconds: seconds ?? null };
}

/** @param {string} name @param {any} body @param {number} [asked] @param {number} [told] @returns {Message} */
function control(name, body, asked, told) {
  if (name === "ack") return { kind: "ack", count: body, asked, told };
  if (name === "ping") return { kind: "ping", count: body, asked };
  if (name === "welcome" && body) return { kind: "welcome", welcome: body };
  if (name !== "bye") throw new ProtocolError(`$${name} is not a message`);
  const { code, reason = "", where = "", unconfirmed } = body ?? {};
  return { kind: "bye", code: Number(code), reason: String(reason), where: String(where), unconfirmed: unconfirmed === true };
}
