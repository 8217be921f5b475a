// @ts-check
/** Reads this player's steering from the keys, from a finger or the mouse, or from the tilt of the phone. A new input replaces earlier ones. */

/** @type {Record<string, [number, number]>} */
const KEYS = {
  ArrowLeft: [-1, 0], KeyA: [-1, 0], ArrowRight: [1, 0], KeyD: [1, 0],
  ArrowUp: [0, -1], KeyW: [0, -1], ArrowDown: [0, 1], KeyS: [0, 1],
};
const STICK = 60; // pixels that a finger moves for full force
const SILENCE_SECONDS = 2; // seconds without a report of tilt after which the page assumes that the device has no sensor
const LEVEL = 4; // degrees of tilt up to which the force is zero
const STEEP = 22; // degrees of tilt from which the force is full
const GRAIN = 20; // smallest reported change of the force, in hundredths of full force: smaller changes come from a trembling hand

export class Controls {
  /** The point at which a finger or the mouse grasped the stick, and its point now, in pixels of the page; null without a grasp. @type {{x: number, y: number, toX: number, toY: number} | null} */
  stick = null;
  /** The newest force that the player wants, in hundredths of full force. */
  x = 0;
  y = 0;
  /** @type {Set<string>} */
  #pressed = new Set();
  #stickPointer = -1;
  /** The angles of the phone at the first report; null before it. @type {{beta: number, gamma: number} | null} */
  #level = null;
  #silence = 0;
  #onChange;

  /** @param {HTMLElement} field the area in which a finger steers @param {(x: number, y: number) => void} onChange */
  constructor(field, onChange) {
    this.#onChange = onChange;
    addEventListener("keydown", (event) => {
      if (!(event.code in KEYS) || event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.#pressed.add(event.code);
      this.#fromKeys();
    });
    addEventListener("keyup", (event) => {
      if (this.#pressed.delete(event.code)) this.#fromKeys();
    });
    addEventListener("blur", () => this.#letGo());
    document.addEventListener("visibilitychange", () => this.#letGo());
    field.addEventListener("pointerdown", (event) => this.#grasp(event));
    field.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      field.addEventListener(name, (event) => {
        if (/** @type {PointerEvent} */ (event).pointerId === this.#stickPointer) this.release();
      });
    }
  }

  /**
   * Start steering by tilting. Return true if the browser allows it. Call this method in a click handler, because some browsers ask the user.
   * @param {() => void} onSilence called if the device reports no tilt
   */
  async tilt(onSilence) {
    const asking = /** @type {{requestPermission?: () => Promise<string>}} */ (/** @type {unknown} */ (DeviceOrientationEvent));
    const allowed = await asking.requestPermission?.().catch(() => "denied") ?? "granted";
    if (allowed !== "granted") return false;
    this.#level = null;
    addEventListener("deviceorientation", this.#onTilt);
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      if (this.#level !== null) return;
      this.untilt();
      onSilence();
    }, SILENCE_SECONDS * 1000);
    return true;
  }

  /** Stop steering by tilting. */
  untilt() {
    clearTimeout(this.#silence);
    removeEventListener("deviceorientation", this.#onTilt);
    this.#want(0, 0);
  }

  /** Release the stick, and stop steering. */
  release() {
    this.stick = null;
    this.#stickPointer = -1;
    this.#want(0, 0);
  }

  #letGo() {
    this.#pressed.clear();
    this.release();
  }

  #fromKeys() {
    let [x, y] = [0, 0];
    for (const code of this.#pressed) {
      x += KEYS[code][0];
      y += KEYS[code][1];
    }
    this.#want(Math.sign(x), Math.sign(y));
  }

  /** @param {PointerEvent} event */
  #grasp({ clientX: x, clientY: y, pointerId, button, target }) {
    if (this.#stickPointer !== -1 || button !== 0) {
      this.release(); // a second finger begins to zoom, so the first one stops steering
      return;
    }
    /** @type {HTMLElement} */ (target).setPointerCapture(pointerId);
    this.#stickPointer = pointerId;
    this.stick = { x, y, toX: x, toY: y };
  }

  /** @param {PointerEvent} event */
  #drag({ clientX, clientY, pointerId }) {
    if (this.stick === null || pointerId !== this.#stickPointer) return;
    [this.stick.toX, this.stick.toY] = [clientX, clientY];
    this.#want((clientX - this.stick.x) / STICK, (clientY - this.stick.y) / STICK);
  }

  /** @param {DeviceOrientationEvent} event */
  #onTilt = ({ beta, gamma }) => {
    if (beta === null || gamma === null) return;
    this.#level ??= { beta, gamma };
    const turned = Math.PI / 180 * (screen.orientation?.angle ?? 0);
    const [right, down] = [this.#force(gamma - this.#level.gamma), this.#force(beta - this.#level.beta)];
    this.#want(right * Math.cos(turned) + down * Math.sin(turned), down * Math.cos(turned) - right * Math.sin(turned));
  };

  /** @param {number} degrees */
  #force(degrees) {
    return Math.sign(degrees) * Math.max(0, Math.abs(degrees) - LEVEL) / (STEEP - LEVEL);
  }

  /** @param {number} x @param {number} y shares of full force */
  #want(x, y) {
    const length = Math.max(1, Math.hypot(x, y));
    const [toX, toY] = [Math.round(100 * x / length), Math.round(100 * y / length)];
    const stops = toX === 0 && toY === 0 && (this.x !== 0 || this.y !== 0);
    if (!stops && Math.hypot(toX - this.x, toY - this.y) < GRAIN) return;
    [this.x, this.y] = [toX, toY];
    this.#onChange(toX, toY);
  }
}
