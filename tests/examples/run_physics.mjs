// Runs the vectors of the hill's physics in JavaScript: node run_physics.mjs <physics.js> <vectors.json>
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const [, , physicsPath, vectorsPath] = process.argv;
const source = readFileSync(physicsPath, "utf8");
const { step } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const { cases } = JSON.parse(readFileSync(vectorsPath, "utf8"));
for (const { name, discs, intents, ticks, after, collided, still } of cases) {
  const happened = { collided: [], still: [] };
  for (let tick = 1; tick <= ticks; tick++) {
    for (const [when, number, x, y] of intents) {
      if (when === tick) Object.assign(discs.find((disc) => disc.number === number), { sx: x, sy: y });
    }
    const happenings = step(discs);
    happened.collided.push(...happenings.collided.map((pair) => [tick, ...pair]));
    happened.still.push(...happenings.still.map(({ number }) => [tick, number]));
  }
  // compare as JSON, in which 0 and -0 are the same number
  assert.equal(JSON.stringify(discs), JSON.stringify(after), name);
  assert.deepEqual(happened, { collided, still }, name);
}
console.log(`${cases.length} cases`);
