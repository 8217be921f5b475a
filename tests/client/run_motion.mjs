// Tests of edge-motion.js: `Timeline` and `Smoothing`. Usage: node run_motion.mjs <edge-motion.js>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const { Smoothing, Timeline } = await import(pathToFileURL(process.argv[2]).href);

// A world whose state depends on the order and the ticks of all inputs.
const step = (state, inputs) => inputs.reduce((value, input) => (value * 31 + input) % 1_000_003, (state * 7 + 1) % 1_000_003);
const world = (options = {}) => new Timeline({ tick: 100, state: 5, step, ...options });

function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

const cases = {
  "late inputs lead to the same states as inputs that arrive in time"() {
    for (let seed = 1; seed <= 200; seed++) {
      const draw = random(seed);
      const inputs = Array.from({ length: 40 }, (_, index) => ({ tick: 101 + Math.floor(draw() * 60), input: index }));
      inputs.sort((one, other) => one.tick - other.tick);
      const timely = world();
      for (const { tick, input } of inputs) timely.put(tick, input);
      timely.advance(170);
      const late = world();
      const coming = inputs.map((each) => ({ ...each, at: each.tick + Math.floor(draw() * 20) }));
      for (let now = 101; now <= 190; now++) {
        // inputs of the same tick arrive in their order, because one connection carries them
        for (const { tick, input } of coming.filter(({ at, tick }) => Math.max(at, ...coming.filter((other) => other.tick === tick).map((other) => other.at)) === now)) {
          assert.ok(late.put(tick, input));
        }
        assert.ok(late.advance(Math.min(now, 170)));
      }
      for (let tick = 100; tick <= 170; tick++) assert.equal(late.state(tick), timely.state(tick), `seed ${seed}, tick ${tick}`);
    }
  },
  "takeBack removes predicted inputs that did not happen"() {
    const [plain, mended] = [world(), world()];
    plain.put(110, 3);
    mended.put(105, 9);
    mended.advance(120);
    mended.takeBack((input, tick) => input === 9 && tick <= 105);
    mended.put(110, 3);
    assert.ok(plain.advance(130) && mended.advance(130));
    assert.equal(mended.state(130), plain.state(130));
  },
  "a late input replaces states and does not change the old objects"() {
    const states = [];
    const timeline = new Timeline({ tick: 0, state: Object.freeze({ x: 0 }), step: ({ x }, inputs) => Object.freeze({ x: x + 1 + inputs.length }) });
    timeline.advance(5);
    for (let tick = 0; tick <= 5; tick++) states.push(timeline.state(tick));
    timeline.put(3, "more");
    timeline.advance(5);
    assert.deepEqual(states.map(({ x }) => x), [0, 1, 2, 3, 4, 5]);
    assert.deepEqual([2, 3, 5].map((tick) => timeline.state(tick).x), [2, 4, 6]);
  },
  "put refuses inputs of ticks that are too old, and advance refuses to skip too many ticks"() {
    const timeline = world({ keep: 10 });
    assert.equal(timeline.put(100, 1), false); // the timeline starts at tick 100, so that this input is too late
    for (let tick = 101; tick <= 150; tick++) assert.ok(timeline.advance(tick));
    assert.equal(timeline.put(141, 1), false);
    assert.equal(timeline.put(142, 1), true);
    assert.ok(timeline.advance(150));
    assert.equal(timeline.advance(161), false);
    assert.equal(timeline.tick, 150);
    assert.ok(timeline.advance(160));
  },
  "an input for a future tick takes effect at that tick"() {
    const timeline = world();
    timeline.put(103, 1);
    timeline.advance(102);
    const before = timeline.state(102);
    timeline.advance(103);
    assert.equal(timeline.state(103), step(before, [1]));
  },
  "around returns the states before and after a moment between two ticks, and the share"() {
    const timeline = world();
    timeline.advance(104);
    const { before, after, share } = timeline.around(102.25);
    assert.deepEqual([before, after, share], [timeline.state(102), timeline.state(103), 0.25]);
    assert.equal(timeline.around(50).before, timeline.state(100)); // there is no state before the first one
    assert.equal(timeline.around(500).after, timeline.state(104));
  },
  "a correction moves at most its bound in each frame, and ends at zero"() {
    const smoothing = new Smoothing({ most: 10 });
    smoothing.absorb(-300, 400);
    assert.deepEqual([smoothing.x, smoothing.y], [300, -400]); // a correction does not change the shown place at once
    let [x, y] = [smoothing.x, smoothing.y];
    for (let frame = 0; frame < 200; frame++) {
      smoothing.next();
      const moved = Math.hypot(smoothing.x - x, smoothing.y - y);
      assert.ok(moved <= 10 + 1e-9);
      assert.ok(Math.abs(moved - smoothing.corrected) < 1e-9);
      [x, y] = [smoothing.x, smoothing.y];
    }
    assert.deepEqual([Math.abs(x), Math.abs(y)], [0, 0]);
  },
  "corrections add up"() {
    const smoothing = new Smoothing();
    smoothing.absorb(5, 0);
    smoothing.absorb(-5, 2);
    assert.deepEqual([smoothing.x, smoothing.y], [0, -2]);
    smoothing.next();
    assert.ok(smoothing.corrected > 0 && smoothing.corrected < 2);
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
