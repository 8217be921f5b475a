// Tests of the hill's page over a simulated connection, in virtual time. Usage: node run_game.mjs <folder with game.js
// and its imports>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const { Game } = await import(new URL("game.js", folder).href);
const { HZ, step } = await import(new URL("physics.js", folder).href);

const FRAME = 1 / 60;
const BOUND = 10;

function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

/** A server with two discs, a page that steers disc 0, and a connection with latency. */
class World {
  now = 0;
  tick = 0;
  /** The server's discs after each tick. @type {any[]} */
  history = [];
  discs = [0, 1].map((number) => ({ number, x: 400 * (1 - 2 * number), y: 0, vx: 0, vy: 0, sx: 0, sy: 0 }));
  looks = 0;
  #line = []; // [time, callback, kind]
  #heeded = 0;
  #plan = [];
  #draw;

  /** @param {{latency: () => number, roundTrip?: number | null, seed?: number}} options */
  constructor({ latency, roundTrip = null, seed = 1 }) {
    this.latency = latency;
    this.roundTrip = roundTrip;
    this.#draw = random(seed);
    this.game = new Game(() => this.now, () => { this.looks += 1; this.send(() => this.showBoard()); });
    this.game.begin(0);
    this.showBoard();
  }

  /** Call `run` after the latency, and not before earlier calls. */
  send(run) {
    const when = Math.max(this.now + this.latency(), ...this.#line.filter((each) => each[2] === "any").map(([then]) => then), 0);
    this.#line.push([when, run, "any"]);
  }

  showBoard() {
    const board = { tick: this.tick, at: this.tick / HZ, begins: false, discs: structuredClone(this.discs), names: [[0, "a"], [1, "b"]] };
    this.send(() => this.game.show(board));
  }

  steer(x, y) {
    const plan = this.game.steer(x, y);
    this.send(() => { this.#plan = plan; });
  }

  #serverTick() {
    this.tick += 1;
    const moved = [];
    const due = this.#plan.filter(([planned]) => planned > this.#heeded && planned <= this.tick);
    if (due.length > 0) {
      const [planned, x, y] = due[due.length - 1];
      this.#heeded = planned;
      Object.assign(this.discs[0], { sx: x, sy: y });
      moved.push([0, x, y, this.tick - planned]);
    }
    if (this.others && this.#draw() < 0.06) {
      const [x, y] = this.tick > this.stopsAt ? [0, 0] : [Math.round(140 * this.#draw() - 70), Math.round(140 * this.#draw() - 70)];
      Object.assign(this.discs[1], { sx: x, sy: y });
      moved.push([1, x, y, 0]);
    }
    const { collided, still } = step(this.discs);
    this.history[this.tick] = structuredClone(this.discs);
    if (moved.length + collided.length + still.length === 0) return;
    const facts = { tick: this.tick, moved, collided, still: still.map(({ number, x, y }) => [number, x, y]) };
    this.send(() => this.game.facts(facts));
  }

  /** Advance the time, and call `look` with the discs of each frame. */
  run(seconds, look = () => {}, { asleep = false } = {}) {
    for (const until = this.now + seconds; this.now < until;) {
      this.now += FRAME;
      while ((this.tick + 1) / HZ <= this.now) this.#serverTick();
      const come = this.#line.filter(([when]) => when <= this.now);
      this.#line = this.#line.filter(([when]) => when > this.now);
      for (const [, run] of come) run();
      if (!asleep) look(this.game.frame(FRAME, this.roundTrip).discs);
    }
  }
}

const steady = (seconds) => () => seconds;
const places = (discs) => discs.map(({ x, y }) => [Math.round(x * 1e6) / 1e6, Math.round(y * 1e6) / 1e6]);

const cases = {
  "intents that the server follows at their tick need no correction"() {
    const world = new World({ latency: steady(0.1), roundTrip: 0.2 });
    world.run(1);
    for (const [x, y] of [[100, 0], [0, 100], [-70, -70], [0, 0]]) {
      world.steer(x, y);
      world.run(0.7);
    }
    assert.equal(world.game.largest, 0);
    assert.equal(world.looks, 0);
    world.run(4);
    let seen;
    world.run(0.1, (discs) => { seen = discs; });
    assert.deepEqual(places(seen), places(world.discs));
  },
  "an intent that the server follows late takes effect at that later tick"() {
    const world = new World({ latency: steady(0.3) });
    world.run(0.5);
    world.steer(30, 40);
    let shown;
    world.run(2, (discs) => { shown = discs; });
    const moment = (world.now + world.game.lead) * HZ;
    world.run(1);
    const [before, after] = [Math.floor(moment), Math.floor(moment) + 1].map((tick) => world.history[tick][0]);
    const share = moment - Math.floor(moment);
    assert.ok(Math.abs(shown[0].x - (before.x + share * (after.x - before.x))) < 0.01);
    assert.ok(Math.abs(shown[0].y - (before.y + share * (after.y - before.y))) < 0.01);
    assert.ok(world.game.largest > 0);
  },
  "corrections for another player's intents stay within the bound, and the discs end where the server has them"() {
    for (let seed = 1; seed <= 20; seed++) {
      const draw = random(seed);
      const world = new World({ latency: () => 0.1 * (0.6 + 0.8 * draw()), roundTrip: 0.2, seed });
      [world.others, world.stopsAt] = [true, 12 * HZ];
      let before = null;
      const smooth = (discs) => {
        for (const { number, x, y } of discs) {
          const from = before?.find((disc) => disc.number === number);
          if (from) assert.ok(Math.hypot(x - from.x, y - from.y) <= 44 * HZ * FRAME * 1.1 + BOUND + 22, `seed ${seed} at ${world.now}`);
        }
        before = discs.map((disc) => ({ ...disc }));
      };
      for (let turn = 0; turn < 24; turn++) {
        world.steer(Math.round(140 * draw() - 70), Math.round(140 * draw() - 70));
        world.run(0.5, smooth);
      }
      world.steer(0, 0);
      world.run(6, smooth);
      assert.deepEqual(places(before), places(world.discs), `seed ${seed}`);
      assert.ok(world.game.largest <= BOUND + 1e-9);
      assert.equal(world.looks, 0, `seed ${seed}`);
    }
  },
  "the lead grows when intents arrive late, and shrinks when the latency falls"() {
    const world = new World({ latency: steady(0.18) });
    for (let turn = 0; turn < 10; turn++) { world.steer(turn % 2 ? 50 : -50, 0); world.run(0.5); }
    assert.ok(world.game.lead > 0.14 && world.game.lead < 0.25, `${world.game.lead}`);
    world.latency = steady(0.01);
    for (let turn = 0; turn < 120; turn++) { world.steer(turn % 2 ? 50 : -50, 0); world.run(0.2); }
    assert.ok(world.game.lead < 0.08, `${world.game.lead}`);
  },
  "after `forgive`, an outage does not change the lead"() {
    const world = new World({ latency: steady(0.02), roundTrip: 0.04 });
    world.run(1);
    world.steer(100, 0);
    world.run(1);
    const { lead } = world.game;
    world.latency = steady(2);
    world.steer(0, 0);
    world.run(2.1);
    world.latency = steady(0.02);
    world.game.forgive(); // the page calls `forgive` when a welcome resumes its seat
    world.run(5);
    assert.ok(Math.abs(world.game.lead - lead) < 0.02, `${lead} ${world.game.lead}`);
  },
  "in a new seat, the plan has no intents of the old seat"() {
    const world = new World({ latency: steady(0.02) });
    world.run(0.5);
    for (let turn = 0; turn < 12; turn++) { world.game.steer(turn, 0); world.run(0.1); }
    assert.equal(world.game.steer(1, 1).length, 8);
    world.game.begin(0);
    assert.equal(world.game.steer(2, 2).length, 1);
  },
  "a page requests the board once when it wakes, and when it has had no board for a second"() {
    const world = new World({ latency: steady(0.02) });
    world.others = true;
    world.stopsAt = Infinity;
    world.run(1);
    world.run(400, undefined, { asleep: true });
    world.run(0.5);
    assert.equal(world.looks, 1);
    world.latency = steady(1.5);
    world.game.begin(0);
    world.run(1.2);
    assert.equal(world.looks, 2);
    let seen = [];
    world.run(4, (discs) => { seen = discs; });
    assert.equal(seen.length, 2);
  },
  "a page whose board differs from the server's detects this by the collisions, and requests the board"() {
    const world = new World({ latency: steady(0.02), roundTrip: 0.04 });
    world.discs[0].y = 100;
    world.showBoard();
    world.run(0.5);
    world.discs[0].y = 0; // a change that the server does not send
    world.steer(-100, 0);
    world.run(3);
    assert.ok(world.looks >= 1);
    world.steer(0, 0);
    let seen = [];
    world.run(6, (discs) => { seen = discs; });
    assert.deepEqual(places(seen), places(world.discs));
  },
};

for (const [name, run] of Object.entries(cases)) {
  try {
    run();
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
}
console.log(`${Object.keys(cases).length} cases`);
