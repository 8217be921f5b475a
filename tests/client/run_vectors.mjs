// Runs the client cases of the test vectors on edge.js. Usage: node run_vectors.mjs <folder of the modules> <vectors.json>
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , modules, vectorsPath] = process.argv;
const load = (module) => import(new URL(module, `${pathToFileURL(modules)}/`).href);
const { Connection } = await load("connection.js");
const { Counts } = await load("counts.js");
const { ProtocolError } = await load("wire.js");

const WELCOME = {
  resumed: false, why: "new", received: 0, key: "k", number: 0, heartbeat: 20, dead_after: 30,
};

function act(machine, step) {
  const { connection, now } = machine;
  if (step.open) {
    connection.hello({ name: "ana", key: null, received: null }, now);
    connection.receive(JSON.stringify(["$welcome", WELCOME]), now);
  } else if (step.reconnect) {
    machine.connection = new Connection(connection.counts, now);
  } else if (step.receive) {
    const given = connection.receive(step.receive.raw ?? JSON.stringify(step.receive), now);
    if (step.gives === null) assert.equal(given, null);
    else for (const [name, value] of Object.entries(step.gives ?? {})) assert.deepEqual(given[name], value, name);
  } else if (step.due) {
    if ("ask_clock" in step) assert.equal(connection.askClock(now), step.ask_clock);
    if ("check" in step) assert.equal(connection.check(now), step.check);
    assert.deepEqual(connection.due(now).map((frame) => JSON.parse(frame)), step.due);
  } else if (step.send) {
    const frame = JSON.stringify(step.send);
    connection.counts.record(frame);
    assert.deepEqual(JSON.parse(frame), step.frame);
  } else if (step.hello) {
    assert.deepEqual(JSON.parse(connection.hello(step.hello, now)), step.frame);
  } else if (step.bye) {
    assert.deepEqual(JSON.parse(connection.bye(step.bye.code, step.bye.reason)), step.frame);
  } else if (!("clock" in step)) {
    throw new Error(`unknown step ${JSON.stringify(step)}`);
  }
}

function run(machine, step) {
  machine.now = step.at ?? machine.now;
  for (let time = 0; time < (step.again ?? 1); time++) {
    if (step.error === undefined) act(machine, step);
    else assert.throws(() => act(machine, step), (error) => error instanceof ProtocolError && error.code === step.error);
  }
  const { connection } = machine;
  for (const [name, value] of Object.entries(step.counts ?? {})) assert.equal(connection.counts[name], value, name);
  if ("clock" in step) assert.ok(Math.abs(connection.clock.at(machine.now) - step.clock) < 1e-9, `${connection.clock.at(machine.now)}`);
  if (step.state) assert.equal(connection.state, step.state);
  if (step.next_due !== undefined) assert.ok(Math.abs(connection.nextDue - step.next_due) < 1e-9);
  if (step.replay) assert.deepEqual(connection.counts.unacked.map((frame) => JSON.parse(frame)), step.replay);
}

let count = 0;
for (const { name, side, steps } of JSON.parse(readFileSync(vectorsPath, "utf8")).cases) {
  if (side !== "client") continue;
  const machine = { connection: new Connection(new Counts(), 0), now: 0 };
  steps.forEach((step, index) => {
    try {
      run(machine, step);
    } catch (error) {
      error.message = `${name}, step ${index + 1}: ${error.message}`;
      throw error;
    }
  });
  count += 1;
}
console.log(`${count} cases`);
