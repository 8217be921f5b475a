// Hostile messages to a page that uses edge.js. Usage: node run_hostile.mjs <folder of the modules>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

import { FakeSocket, WELCOME, greeted } from "./fake_socket.mjs";

const [, , modules] = process.argv;
const load = (module) => import(new URL(module, `${pathToFileURL(modules)}/`).href);
const { Connection } = await load("connection.js");
const { Counts } = await load("counts.js");
const { ProtocolError } = await load("wire.js");
const { join } = await load("edge.js");

const POISON = '{"__proto__": {"poisoned": true}, "constructor": {"prototype": {"poisoned": true}}}';
const NAMES = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "then"];

const said = [];
for (const sign of ["", "~", "=", "+", "-", "!", "$"]) {
  for (const name of NAMES) said.push(`["${sign}${name}", ${POISON}, 7]`, `["${sign}${name}", ${POISON}]`);
}
for (const name of ["$welcome", "$ack", "$ping", "$bye"]) said.push(`["${name}", ${POISON}]`, `["${name}"]`, `["${name}", null]`);

// Each frame goes to a connection machine.
for (const frame of said) {
  const connection = new Connection(new Counts(), 0);
  connection.hello({ name: "ana" }, 0);
  connection.receive(JSON.stringify(["$welcome", WELCOME]), 0);
  try {
    connection.receive(frame, 0);
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `${frame}: ${error.stack}`);
  }
  assert.equal({}.poisoned, undefined, frame);
}

// The events among the frames go to a room.
const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none" });
const heard = [];
for (const name of NAMES) room.on(name, (body) => heard.push([name, body]));
const socket = await greeted();
socket.say(["$welcome", WELCOME]);
for (const frame of said.slice(0, said.indexOf('["$__proto__", ' + POISON + ", 7]"))) socket.say(frame);
await new Promise((resolve) => setTimeout(resolve));
assert.equal({}.poisoned, undefined);
assert.deepEqual(new Set(heard.map(([name]) => name)), new Set(NAMES), "an event with such a name reaches its handler");
for (const [, body] of heard) assert.equal(Object.getPrototypeOf(body), Object.prototype);
room.leave();
console.log(`${said.length} frames`);
process.exit(0);
