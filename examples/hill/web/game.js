// @ts-check
/**
 * This browser's copy of the board. The copy runs ahead of the server by about the time that an event takes to reach the server,
 * so that this player's actions are visible at once. Each event from the server is applied at its own tick, which is in the past.
 *
 * This player's disc and the discs near it are shown in the present. Distant discs are shown as they were `delay` seconds
 * earlier: the server's facts about that time have arrived, so distant discs need no correction.
 */
import { Smoothing, Timeline } from "./edge-motion.js";
import { HZ, RADIUS, step } from "./physics.js";

/** @typedef {import("./physics.js").Disc} Disc */
/** @typedef {{discs: Disc[], collided: [number, number][]}} State */
/**
 * @typedef {{kind: "mine", number: number, x: number, y: number} | {kind: "moved", moved: Facts["moved"]}
 *   | {kind: "joined", number: number, x: number, y: number} | {kind: "left", number: number}
 *   | {kind: "still", still: Facts["still"]}} Input
 */
/** @import { Board, Facts } from "../rooms" */
/** @typedef {{number: number, x: number, y: number, sx: number, sy: number}} Shown */

const MAX_PLAN = 8;
const MAX_NEWS = 600; // maximum number of events that wait for the next frame: only a page in the background, which draws no frames, exceeds it
const MAX_LEAD = 0.4; // seconds
const PATIENCE = 1; // seconds without a board until the board is requested again
const RELAX = 0.03; // share of the excess lead that is removed after each intent that the server received in time
const MAX_DELAY = 0.6; // seconds
const SLEW = 0.1; // maximum change of lead and delay, in seconds per second: too slow to be seen
const NEAR = 3 * RADIUS; // nearer discs are shown in the present
const FAR = 9 * RADIUS; // farther discs are shown in the past; between NEAR and FAR, the shown time changes gradually
const JUMP = 3 * RADIUS; // a disc that moved farther in one tick is shown at its new place at once, such as at the start of a round

export class Game {
  /** This player's number. */
  me = -1;
  /** @type {Map<number, string>} */
  names = new Map();
  /** Seconds by which this board is ahead of the server's board. */
  lead = 0.1;
  /** Seconds by which distant discs are shown in the past. */
  delay = 0.1;
  /** The largest correction in any frame so far, in units of the board. */
  largest = 0;
  /** The number of times that this page requested the whole board because its copy was wrong or missing. */
  looks = 0;
  #now;
  #look;
  /** @type {Timeline<State, Input> | null} */
  #timeline = null;
  #start = { tick: 0, at: 0 };
  /** @type {(() => void)[]} */
  #news = [];
  /** @type {Facts[]} */
  #unchecked = [];
  /** @type {Map<number, Smoothing>} */
  #smoothings = new Map();
  /** @type {[number, number, number][]} */
  #plan = [];
  #confirmed = -1;
  #leastLead = 0;
  #wantedLead = 0;
  /** For each planned tick, the lead at the time when the intent was planned, in seconds. @type {Map<number, number>} */
  #leads = new Map();
  #asleep = false;
  /** Seconds without a board. */
  #waited = 0;
  /** @type {number[]} */
  #lags = [];
  /** @type {Shown[]} */
  #shown = [];
  #bumpsTold = 0;

  /** @param {() => number} now the room's clock @param {() => void} look requests the whole board */
  constructor(now, look) {
    this.#now = now;
    this.#look = look;
  }

  /** Start without a board, which the server will send. Call this after a welcome to a new seat. @param {number} me the player's number */
  begin(me) {
    this.me = me;
    this.#timeline = null;
    this.#waited = 0;
    this.#shown = [];
    [this.#news, this.#unchecked, this.#plan] = [[], [], []];
    this.#smoothings.clear();
    this.#confirmed = -1;
    this.forgive();
  }

  /** Discard the measured lateness of events. Call this after a lost connection or a pause of the page, because both make events late. */
  forgive() {
    this.#leads.clear();
    this.#lags = [];
  }

  // --- events from the server

  /** @param {Board} board */
  show({ tick, at, begins, discs, names }) {
    this.names = new Map(names);
    this.#news.push(() => {
      this.#start = { tick, at };
      this.#unchecked = [];
      const state = { discs: [...discs], collided: /** @type {[number, number][]} */ ([]) };
      const timeline = this.#timeline = new Timeline({ tick, state, step: next });
      const expected = this.#plan.filter(([planned]) => planned > this.#confirmed);
      for (const [planned, x, y] of expected) timeline.put(planned, { kind: "mine", number: this.me, x, y });
      this.#bumpsTold = tick;
      if (begins) this.#smoothings.clear();
    });
  }

  /** @param {{tick: number, number: number, name: string, x: number, y: number}} joined */
  joined({ tick, number, name, x, y }) {
    this.names.set(number, name);
    this.#put(tick, { kind: "joined", number, x, y });
    this.#news.push(() => this.#smoothings.delete(number)); // otherwise the disc would seem to move from the place of the disc that had this number before
  }

  /** @param {{tick: number, number: number}} left */
  left({ tick, number }) {
    this.#put(tick, { kind: "left", number });
  }

  /** @param {Facts} facts */
  facts(facts) {
    const { tick, moved, still } = facts;
    this.#lags = [...this.#lags, Math.max(0, this.#present - tick) / HZ].slice(-60);
    const mine = moved.find(([number]) => number === this.me);
    if (mine !== undefined) this.#confirm(tick, mine[3]);
    if (moved.length > 0) this.#put(tick, { kind: "moved", moved });
    if (still.length > 0) this.#put(tick, { kind: "still", still });
    this.#unchecked.push(facts);
    if (this.#news.length > MAX_NEWS) { // the page has not drawn a frame for a while, so the next frame requests the board
      this.#timeline = null;
      [this.#news, this.#unchecked] = [[], []];
      this.#asleep = true;
    }
  }

  /** Call this if the server has applied an intent of this player in `tick`, `late` ticks after the planned tick. @param {number} tick @param {number} late */
  #confirm(tick, late) {
    this.#confirmed = tick - late;
    this.#news.push(() => this.#timeline?.takeBack((input, when) => input.kind === "mine" && when <= tick - late));
    const lead = this.#leads.get(tick - late);
    for (const planned of this.#leads.keys()) if (planned <= tick - late) this.#leads.delete(planned);
    if (late <= 0) this.#wantedLead -= RELAX * (this.#wantedLead - this.#leastLead);
    else if (lead !== undefined) this.#wantedLead = Math.min(MAX_LEAD, Math.max(this.#wantedLead, lead + late / HZ));
  }

  /** @param {number} tick @param {Input} input */
  #put(tick, input) {
    this.#news.push(() => {
      if (this.#timeline !== null && tick > this.#start.tick && !this.#timeline.put(tick, input)) this.#lookAgain();
    });
  }

  #lookAgain() {
    this.#timeline = null;
    this.#waited = 0;
    this.looks += 1;
    this.forgive();
    this.#look();
  }

  // --- this player's actions

  /** Steer from the next tick on. Return the newest intents, to send to the server. @param {number} x @param {number} y */
  steer(x, y) {
    const tick = Math.floor(this.#present) + 1;
    this.#plan = [...this.#plan.filter(([planned]) => planned < tick), /** @type {[number, number, number]} */ ([tick, x, y])];
    this.#plan = this.#plan.slice(-MAX_PLAN);
    this.#leads.set(tick, this.lead);
    this.#timeline?.takeBack((input, when) => input.kind === "mine" && when >= tick);
    this.#timeline?.put(tick, { kind: "mine", number: this.me, x, y });
    return this.#plan;
  }

  // --- the picture

  /** The current tick of this board, with its fraction. */
  get #present() { return this.#start.tick + (this.#now() + this.lead - this.#start.at) * HZ; }

  /**
   * Compute one frame: the discs at their shown positions, and the places of new collisions.
   * @param {number} seconds since the last frame @param {number | null} roundTrip @returns {{discs: Shown[], bumps: {x: number, y: number}[]}}
   */
  frame(seconds, roundTrip) {
    const most = SLEW * Math.min(seconds, 0.1);
    this.#waited += this.#timeline === null ? seconds : 0;
    if (this.#asleep || this.#waited > PATIENCE) this.#lookAgain();
    this.#asleep = false;
    this.#leastLead = (roundTrip ?? 0) / 2 + 1 / HZ;
    this.#wantedLead = Math.max(this.#wantedLead, this.#leastLead);
    this.lead += Math.max(-most, Math.min(most, this.#wantedLead - this.lead));
    this.delay += Math.max(-most, Math.min(most, Math.min(MAX_DELAY, Math.max(0, ...this.#lags)) - this.delay));
    const expected = this.#news.length > 0 && this.#advance(this.#present) ? this.#places(this.#present) : new Map();
    for (const news of this.#news.splice(0)) news();
    const present = this.#present;
    if (!this.#advance(present) || !this.#agrees()) return { discs: this.#shown, bumps: [] };
    const places = this.#places(present);
    for (const [number, place] of places) this.#smooth(place, expected.get(number));
    for (const number of this.#smoothings.keys()) if (!places.has(number)) this.#smoothings.delete(number);
    this.#shown = [...places.values()];
    return { discs: this.#shown, bumps: this.#bumps(present) };
  }

  /** @param {number} present */
  #advance(present) {
    if (this.#timeline === null) return false;
    if (this.#timeline.advance(Math.floor(present) + 1)) return true;
    this.#lookAgain();
    return false;
  }

  /** Return the positions of all discs: near ones in the present, distant ones in the past. @param {number} present @returns {Map<number, Shown>} */
  #places(present) {
    const now = this.#between(present);
    const past = this.#between(present - this.delay * HZ);
    const mine = now.get(this.me);
    for (const [number, place] of now) {
      const earlier = past.get(number);
      if (mine === undefined || earlier === undefined || number === this.me) continue;
      const distance = Math.hypot(place.x - mine.x, place.y - mine.y);
      const share = Math.max(0, Math.min(1, (distance - NEAR) / (FAR - NEAR)));
      const then = share === 1 ? earlier : this.#between(present - share * this.delay * HZ, number).get(number) ?? earlier;
      Object.assign(place, { x: then.x, y: then.y });
    }
    return now;
  }

  /** @param {number} moment @param {number} [only] @returns {Map<number, Shown>} */
  #between(moment, only) {
    const { before, after, share } = /** @type {Timeline<State, Input>} */ (this.#timeline).around(moment);
    const places = new Map();
    let index = 0;
    for (const { number, x, y, sx, sy } of after.discs) {
      if (only !== undefined && number !== only) continue;
      while (index < before.discs.length && before.discs[index].number < number) index += 1;
      const from = before.discs[index]?.number === number ? before.discs[index] : { x, y };
      const far = Math.hypot(x - from.x, y - from.y) > JUMP;
      places.set(number, { number, x: far ? x : from.x + (x - from.x) * share, y: far ? y : from.y + (y - from.y) * share, sx, sy });
    }
    return places;
  }

  /** @param {Shown} place @param {Shown | undefined} expected its place in this frame before the new events were applied */
  #smooth(place, expected) {
    const known = this.#smoothings.get(place.number);
    const smoothing = known ?? new Smoothing();
    this.#smoothings.set(place.number, smoothing);
    if (expected !== undefined && known !== undefined) smoothing.absorb(place.x - expected.x, place.y - expected.y);
    smoothing.next();
    this.largest = Math.max(this.largest, smoothing.corrected);
    place.x += smoothing.x;
    place.y += smoothing.y;
  }

  /** Compare the collisions that the server reported with those of this board; if they differ, request the board and return false. */
  #agrees() {
    const timeline = /** @type {Timeline<State, Input>} */ (this.#timeline);
    for (const { tick, collided } of this.#unchecked.splice(0)) {
      const waiting = this.#plan.some(([planned]) => planned > this.#confirmed && planned <= tick);
      if (waiting || tick <= this.#start.tick || tick > timeline.tick) continue;
      if (String(timeline.state(tick).collided) !== String(collided)) {
        this.#lookAgain();
        return false;
      }
    }
    return true;
  }

  /** @param {number} present */
  #bumps(present) {
    const until = Math.floor(present);
    const bumps = [];
    for (let tick = Math.max(this.#bumpsTold + 1, until - HZ); tick <= until; tick++) {
      const { discs, collided } = /** @type {Timeline<State, Input>} */ (this.#timeline).state(tick);
      const find = (/** @type {number} */ number) => /** @type {Disc} */ (discs.find((disc) => disc.number === number));
      for (const [one, other] of collided) {
        bumps.push({ x: (find(one).x + find(other).x) / 2, y: (find(one).y + find(other).y) / 2 });
      }
    }
    this.#bumpsTold = until;
    return bumps;
  }
}

/** Return the state of the board after one more tick. @param {State} state @param {Input[]} inputs @returns {State} */
function next({ discs }, inputs) {
  const known = new Map(discs.map((disc) => [disc.number, { ...disc }]));
  // the server's inputs are applied after this player's own predictions, and replace them
  for (const input of [...inputs.filter(({ kind }) => kind === "mine"), ...inputs.filter(({ kind }) => kind !== "mine")]) {
    if (input.kind === "left") known.delete(input.number);
    else if (input.kind === "joined") known.set(input.number, { number: input.number, x: input.x, y: input.y, vx: 0, vy: 0, sx: 0, sy: 0 });
    else if (input.kind === "mine") steer(known.get(input.number), input.x, input.y);
    else if (input.kind === "moved") for (const [number, x, y] of input.moved) steer(known.get(number), x, y);
  }
  const after = [...known.values()].sort((one, other) => one.number - other.number);
  const { collided } = step(after);
  for (const input of inputs) {
    if (input.kind === "still") for (const [number, x, y] of input.still) Object.assign(known.get(number) ?? {}, { x, y });
  }
  return { discs: after, collided };
}

/** @param {Disc | undefined} disc @param {number} x @param {number} y */
function steer(disc, x, y) {
  if (disc !== undefined) Object.assign(disc, { sx: x, sy: y });
}
