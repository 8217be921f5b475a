// @ts-check
import { PROBE_SECONDS } from "./constants.js";
import { after } from "./time.js";
import { SUBPROTOCOL } from "./wire.js";

/**
 * A bidirectional channel for frames. `idle` is true if a frame that is sent now does not wait behind other frames.
 * @typedef {{idle: boolean, send: (frame: string) => void, close: (code: number, reason: string) => void}} Transport
 */

/**
 * The callbacks of a transport. `frame` is called for each frame, `close` once at the end, and `doubt` after a failed request,
 * because the server may be gone.
 * @typedef {{frame: (frame: string) => void, close: (code: number, reason: string) => void, doubt: () => void}} TransportListener
 */

/** Return a new WebSocket. @param {string} url http: or https: */
function open(url) {
  return new WebSocket(url.replace("http", "ws"), SUBPROTOCOL);
}

/** WebSocket as a transport. @implements {Transport} */
export class WebSocketTransport {
  #socket;

  /** @param {string} url @param {() => void} opened @param {TransportListener} listener */
  constructor(url, opened, listener) {
    const socket = this.#socket = open(url);
    socket.onopen = opened;
    socket.onmessage = ({ data }) => listener.frame(String(data));
    socket.onclose = ({ code, reason }) => listener.close(code, reason);
  }

  get idle() { return this.#socket.bufferedAmount === 0; }

  /** @param {string} frame */
  send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  /** @param {number} code @param {string} reason */
  close(code, reason) {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(4000 <= code && code < 5000 ? code : 1000, reason.slice(0, 40));
  }
}

/** Try to open a WebSocket, then close it. @param {string} url @param {() => void} opened @param {() => void} ended called when the WebSocket is closed, even if it never opened; not called if the browser can't create it */
export function probeWebSocket(url, opened, ended) {
  let socket;
  try {
    socket = open(url);
  } catch {
    return; // this page has no WebSocket at all
  }
  const close = () => socket.close();
  const timer = after(PROBE_SECONDS, close);
  socket.onopen = () => {
    close();
    opened();
  };
  socket.onclose = () => {
    clearTimeout(timer);
    ended();
  };
}
