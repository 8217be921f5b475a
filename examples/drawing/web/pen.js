// @ts-check
/** The pen of the drawing game. Strokes are in units of the paper, which do not depend on the size of the screen. */

/** @import { Stroke } from "../rooms" */

export const WIDTH = 1000;
export const HEIGHT = 750;
export const STRIP = 60;
export const PALETTE = ["#1d2433", "#d64545", "#f0883e", "#f2c14e", "#3a9d5d", "#2f6fdb", "#7b4bc9", "#8a5a3c"];

// Points closer to each other than NEAR add bytes, but do not change the shape of a stroke: they are omitted.
const NEAR = 4;
const MAX_POINTS = 1900;

/** @param {CanvasRenderingContext2D} context @param {readonly Stroke[]} strokes */
export function drawStrokes(context, strokes) {
  context.lineCap = context.lineJoin = "round";
  for (const { color, width, points } of strokes) {
    context.strokeStyle = PALETTE[color];
    context.lineWidth = width;
    context.beginPath();
    const [first, ...rest] = points;
    context.moveTo(...first);
    if (rest.length === 0) context.lineTo(first[0], first[1] + 0.01);
    rest.forEach(([x, y], index) => {
      const next = rest[index + 1];
      if (next) context.quadraticCurveTo(x, y, (x + next[0]) / 2, (y + next[1]) / 2);
      else context.lineTo(x, y);
    });
    context.stroke();
  }
}

/** Draw the parts of a figure one below the other. @param {HTMLCanvasElement} canvas @param {(readonly Stroke[])[]} parts */
export function drawFigure(canvas, parts) {
  [canvas.width, canvas.height] = [WIDTH, HEIGHT * parts.length];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  parts.forEach((strokes, index) => {
    context.save();
    context.translate(0, HEIGHT * index);
    drawStrokes(context, strokes);
    context.restore();
  });
}

/** Draws on a canvas with mouse, pen or touch, and passes each finished stroke to `finished`. */
export class Pen {
  color = 0;
  width = 14;
  /** @type {Stroke[]} */
  #strokes = [];
  /** @type {Stroke & {points: [number, number][]} | null} */
  #stroke = null;
  #locked = true;

  /** @param {HTMLCanvasElement} canvas @param {(stroke: Stroke) => void} finished */
  constructor(canvas, finished) {
    this.canvas = canvas;
    this.finished = finished;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    [canvas.width, canvas.height] = [WIDTH, HEIGHT];
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.finishStroke());
    canvas.addEventListener("pointercancel", () => this.finishStroke());
  }

  /** Allow drawing, and show the strokes that this turn already has. @param {readonly Stroke[]} strokes */
  unlock(strokes) {
    this.#strokes = [...strokes];
    this.#locked = false;
    this.#draw();
  }

  lock() {
    this.#locked = true;
    this.#stroke = null;
  }

  /** Remove the last stroke. Return false if there is none, or if the pen is locked. */
  undo() {
    const undone = !this.#locked && this.#strokes.pop() !== undefined;
    this.#draw();
    return undone;
  }

  finishStroke() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (stroke === null || this.#locked) return;
    this.#strokes.push(stroke);
    this.finished(stroke);
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (this.#locked || !event.isPrimary || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#stroke = { color: this.color, width: this.width, points: [this.#point(event)] };
    this.#draw();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (this.#stroke === null || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length > 0 ? events : [event]) this.#add(this.#point(each));
    this.#draw();
  }

  /** @param {[number, number]} point */
  #add(point) {
    const stroke = /** @type {Stroke & {points: [number, number][]}} */ (this.#stroke);
    const last = stroke.points[stroke.points.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
    stroke.points.push(point);
    if (stroke.points.length >= MAX_POINTS) {
      this.finishStroke();
      this.#stroke = { ...stroke, points: [point] };
    }
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    /** @param {number} part @param {number} size */
    const on = (part, size) => Math.round(Math.min(1, Math.max(0, part)) * size);
    return [on((event.clientX - box.left) / box.width, WIDTH), on((event.clientY - box.top) / box.height, HEIGHT)];
  }

  #draw() {
    this.context.clearRect(0, 0, WIDTH, HEIGHT);
    drawStrokes(this.context, this.#stroke === null ? this.#strokes : [...this.#strokes, this.#stroke]);
  }
}
