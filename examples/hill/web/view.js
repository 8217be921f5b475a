// @ts-check
/** Draws the board: the hill with its contours, the discs, and sparks. The camera follows the player more closely at a larger zoom. */
import { BOARD, RADIUS } from "./physics.js";

/** @typedef {import("./game.js").Shown} Shown */

const COLORS = ["#ffb703", "#3fa7ff", "#ff5d73", "#59d98e", "#c58bff", "#ff8f3f", "#2ee6d6", "#f5f06b", "#ff7bd5", "#9fb4ff"];
const SPARK_SECONDS = 0.5;
const MAX_ZOOM = 4;

/** @param {number} number the number of a disc */
export function colorOf(number) {
  return COLORS[number % COLORS.length];
}

export class View {
  /** The zoom factor; 1 shows the whole board. */
  zoom = 1;
  #canvas;
  #context;
  /** @type {{x: number, y: number, age: number}[]} */
  #sparks = [];
  #x = 0;
  #y = 0;
  /** Half of the visible width minus a margin, in units of the board. */
  #half = BOARD;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400));
    }, { passive: false });
    /** @type {Map<number, PointerEvent>} */
    const fingers = new Map();
    let apart = 0;
    canvas.addEventListener("pointerdown", (event) => void fingers.set(event.pointerId, event));
    canvas.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event);
      if (fingers.size !== 2) return;
      const [one, other] = [...fingers.values()];
      const now = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (apart > 0) this.zoomBy(now / apart);
      apart = now;
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        fingers.delete(/** @type {PointerEvent} */ (event).pointerId);
        apart = 0;
      });
    }
  }

  /** @param {number} factor */
  zoomBy(factor) {
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
  }

  /**
   * @param {{discs: Shown[], bumps: {x: number, y: number}[]}} frame @param {{me: number, names: Map<number, string>}} who
   * @param {number} seconds since the last frame
   */
  draw({ discs, bumps }, { me, names }, seconds) {
    const context = this.#context;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const dense = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * dense) || this.#canvas.height !== Math.round(height * dense)) {
      [this.#canvas.width, this.#canvas.height] = [Math.round(width * dense), Math.round(height * dense)];
    }
    const mine = discs.find(({ number }) => number === me);
    const follow = 1 - 1 / this.zoom;
    [this.#x, this.#y] = [(mine?.x ?? 0) * follow, (mine?.y ?? 0) * follow];
    const scale = this.zoom * Math.min(width, height) / (2 * BOARD * 1.03);
    this.#half = width / 2 / scale - 10;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.setTransform(dense * scale, 0, 0, dense * scale, dense * (width / 2 - this.#x * scale), dense * (height / 2 - this.#y * scale));
    this.#drawHill();
    this.#sparks.push(...bumps.map((bump) => ({ ...bump, age: 0 })));
    this.#drawSparks(seconds);
    for (const disc of discs) this.#drawDisc(disc, disc.number === me);
    this.#drawNames([...discs].sort((one, other) => Number(other.number === me) - Number(one.number === me) || one.number - other.number), me, names, scale);
  }

  #drawHill() {
    const context = this.#context;
    const ground = context.createRadialGradient(0, 0, 0, 0, 0, BOARD);
    ground.addColorStop(0, "#2f6b5e");
    ground.addColorStop(0.25, "#1f4a4f");
    ground.addColorStop(1, "#142433");
    this.#circle(0, 0, BOARD);
    context.fillStyle = ground;
    context.fill();
    for (let contour = 1; contour < 8; contour++) {
      this.#circle(0, 0, BOARD * (contour / 8) ** 1.3);
      context.strokeStyle = `rgba(190, 255, 225, ${0.3 - contour * 0.034})`;
      context.lineWidth = 3;
      context.stroke();
    }
    this.#circle(0, 0, 14);
    context.fillStyle = "#eafff4";
    context.fill();
    this.#circle(0, 0, BOARD);
    context.strokeStyle = "#4d6f86";
    context.lineWidth = 14;
    context.stroke();
  }

  /** @param {number} seconds */
  #drawSparks(seconds) {
    for (const spark of this.#sparks) {
      spark.age += seconds / SPARK_SECONDS;
      this.#circle(spark.x, spark.y, 14 + 60 * spark.age);
      this.#context.strokeStyle = `rgba(255, 240, 190, ${Math.max(0, 0.7 * (1 - spark.age))})`;
      this.#context.lineWidth = 8;
      this.#context.stroke();
    }
    this.#sparks = this.#sparks.filter(({ age }) => age < 1);
  }

  /** @param {Shown} disc @param {boolean} mine */
  #drawDisc({ number, x, y, sx, sy }, mine) {
    const context = this.#context;
    this.#circle(x + 5, y + 9, RADIUS);
    context.fillStyle = "#0004";
    context.fill();
    this.#circle(x, y, RADIUS);
    context.fillStyle = colorOf(number);
    context.fill();
    if (mine) {
      this.#circle(x, y, RADIUS - 5);
      context.strokeStyle = "#fff";
      context.lineWidth = 9;
      context.stroke();
    }
    if (sx !== 0 || sy !== 0) {
      this.#circle(x + sx / 100 * (RADIUS - 16), y + sy / 100 * (RADIUS - 16), 9);
      context.fillStyle = "#0d1720";
      context.fill();
    }
  }

  /** Draw each name above its disc, or below it if there is no space; omit a name that would overlap another one. @param {Shown[]} discs the most important first @param {number} me @param {Map<number, string>} names @param {number} scale */
  #drawNames(discs, me, names, scale) {
    const context = this.#context;
    const size = Math.max(30, 12 / scale);
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    /** @type {{x: number, y: number, half: number}[]} */
    const drawn = [];
    for (const disc of discs) {
      const name = names.get(disc.number) ?? "";
      const half = Math.min(context.measureText(name).width / 2, this.#half); // so that no name is cut off at the side
      const x = Math.max(this.#x - this.#half + half, Math.min(this.#x + this.#half - half, disc.x));
      const y = [disc.y - RADIUS - 14, disc.y + RADIUS + size].find((y) => drawn.every((other) =>
        Math.abs(other.y - y) > size || Math.abs(other.x - x) > other.half + half + 8));
      if (y === undefined) continue;
      drawn.push({ x, y, half });
      context.fillStyle = disc.number === me ? "#fff" : "#dce9f2cc";
      context.fillText(name, x, y);
    }
  }

  /** @param {number} x @param {number} y @param {number} radius */
  #circle(x, y, radius) {
    this.#context.beginPath();
    this.#context.arc(x, y, radius, 0, 2 * Math.PI);
  }
}
