// @ts-check
/**
 * The rules of motion: the same operations as in physics.py, in the same order. Both files use only + - * / and square roots of
 * doubles, so browsers and server agree to the last bit. Tests compare both files with vectors.json.
 */

/** @typedef {{number: number, x: number, y: number, vx: number, vy: number, sx: number, sy: number}} Disc */

export const HZ = 30;
export const BOARD = 1000;
export const RADIUS = 44;
const PUSH = 1.8;
const DRAG = 0.93;
const TOP_SPEED = 40;
const STILL = 0.2;
const TOUCH = 8;

/**
 * Move the discs by one tick. Pass the discs in the order of their numbers.
 * @param {Disc[]} discs @returns {{collided: [number, number][], still: Disc[]}}
 */
export function step(discs) {
  const still = discs.filter(move);
  /** @type {[number, number][]} */
  const collided = [];
  const known = new Map(discs.map((disc) => [disc.number, disc]));
  for (const [one, other] of near(discs)) {
    if (collide(/** @type {Disc} */ (known.get(one)), /** @type {Disc} */ (known.get(other))) > TOUCH) collided.push([one, other]);
  }
  discs.forEach(hold);
  return { collided, still };
}

/** Apply force and friction, and move the disc. @param {Disc} disc @returns {boolean} true if the disc has come to rest in this tick */
function move(disc) {
  const moved = disc.vx !== 0 || disc.vy !== 0;
  disc.vx = (disc.vx + PUSH * disc.sx / 100) * DRAG;
  disc.vy = (disc.vy + PUSH * disc.sy / 100) * DRAG;
  const speed = Math.sqrt(disc.vx * disc.vx + disc.vy * disc.vy);
  if (speed > TOP_SPEED) {
    disc.vx *= TOP_SPEED / speed;
    disc.vy *= TOP_SPEED / speed;
  } else if (speed < STILL && disc.sx === 0 && disc.sy === 0) {
    disc.vx = disc.vy = 0;
    return moved;
  }
  disc.x += disc.vx;
  disc.y += disc.vy;
  return false;
}

/** Return the pairs of discs that may overlap, in the order of their numbers. @param {Disc[]} discs */
function near(discs) {
  const ordered = [...discs].sort((one, other) => one.x - other.x || one.number - other.number);
  /** @type {[number, number][]} */
  const pairs = [];
  ordered.forEach((disc, index) => {
    for (let further = index + 1; further < ordered.length; further++) {
      const other = ordered[further];
      if (other.x - disc.x >= 2 * RADIUS) break;
      if (Math.abs(other.y - disc.y) < 2 * RADIUS) {
        pairs.push([Math.min(disc.number, other.number), Math.max(disc.number, other.number)]);
      }
    }
  });
  return pairs.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
}

/** Separate two overlapping discs, and let them bounce off each other. Return the speed of their approach. @param {Disc} one @param {Disc} other */
function collide(one, other) {
  const [dx, dy] = [other.x - one.x, other.y - one.y];
  const squared = dx * dx + dy * dy;
  if (squared >= 4 * RADIUS * RADIUS) return 0;
  const distance = Math.sqrt(squared);
  const [nx, ny] = distance > 0 ? [dx / distance, dy / distance] : [1, 0];
  const half = RADIUS - distance / 2;
  one.x -= nx * half;
  one.y -= ny * half;
  other.x += nx * half;
  other.y += ny * half;
  const approach = (one.vx - other.vx) * nx + (one.vy - other.vy) * ny;
  if (approach <= 0) return 0;
  one.vx -= approach * nx;
  one.vy -= approach * ny;
  other.vx += approach * nx;
  other.vy += approach * ny;
  return approach;
}

/** Keep a disc on the board: the disc bounces off the wall in an elastic collision. @param {Disc} disc */
function hold(disc) {
  const squared = disc.x * disc.x + disc.y * disc.y;
  if (squared <= (BOARD - RADIUS) * (BOARD - RADIUS)) return;
  const distance = Math.sqrt(squared);
  const [nx, ny] = [disc.x / distance, disc.y / distance];
  disc.x = nx * (BOARD - RADIUS);
  disc.y = ny * (BOARD - RADIUS);
  const outward = disc.vx * nx + disc.vy * ny;
  if (outward > 0) {
    disc.vx -= 2 * outward * nx;
    disc.vy -= 2 * outward * ny;
  }
}
