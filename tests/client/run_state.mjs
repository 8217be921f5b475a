// Shared documents of a page. Usage: node run_state.mjs <modules of edge.js> <patches.json>
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

import { FakeSocket, WELCOME, greeted } from "./fake_socket.mjs";

Math.random = () => 0; // reconnect at once
const [, , modules, patchesPath] = process.argv;
const { patched } = await import(pathToFileURL(`${modules}/state.js`).href);
const { join } = await import(pathToFileURL(`${modules}/edge.js`).href);

// Patches that Python made have the effect that they have in Python, and change nothing in the previous mirror.
const runs = JSON.parse(readFileSync(patchesPath, "utf8"));
let count = 0;
for (const { whole, steps } of runs) {
  let mirror = whole;
  for (const { patch, after } of steps) {
    const before = JSON.stringify(mirror);
    const next = patched(mirror, patch);
    assert.equal(JSON.stringify(mirror), before);
    assert.deepStrictEqual(next, after);
    mirror = next;
    count += 1;
  }
}
console.log(count > 100 ? "enough patches" : `only ${count} patches`);

// What a patch leaves unchanged keeps its identity, and names such as __proto__ are ordinary names.
const old = { discs: { ana: { x: 1 }, ben: { x: 2 } }, log: ["a", "b"] };
const moved = patched(old, [{}, { discs: [{}, { ana: [{ x: 5 }] }] }]);
assert.deepEqual(moved, { discs: { ana: { x: 5 }, ben: { x: 2 } }, log: ["a", "b"] });
assert.equal(moved.log, old.log);
assert.equal(moved.discs.ben, old.discs.ben);
const hostile = patched(JSON.parse('{"names": {"a": {"n": 1}}}'), JSON.parse('[{}, {"names": [{"__proto__": {"n": 2}}]}]'));
assert.deepEqual(Object.keys(hostile.names), ["a", "__proto__"]);
const edited = patched(hostile, JSON.parse('[{}, {"names": [{}, {"__proto__": [{"n": 3}]}, ["a"]]}]'));
assert.deepEqual(Object.keys(edited.names), ["__proto__"]);
assert.equal(({}).n, undefined);
assert.equal(JSON.stringify(edited), '{"names":{"__proto__":{"n":3}}}');

// A page is told of a part of the state once for each patch that changes it, and after the whole patch.
const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none" });
const heard = [];
room.watch((state) => state.table.turn, (turn) => heard.push(turn));
room.watch((state) => state.hand, (hand) => heard.push(hand.cards.length));
assert.deepEqual(room.state, {});
let socket = await greeted();
socket.say(["$welcome", { ...WELCOME, documents: ["table", "hand"] }]);
socket.say(["^table", [4, null, { turn: "ana", pot: 0 }], 1]);
assert.deepEqual([heard, room.state], [[], {}], "a page is told when all documents of a change are there");
socket.say(["^hand", [1, null, { cards: [] }]]);
assert.deepEqual(heard.splice(0), ["ana", 0]);
socket.say(["^table", [5, [{ pot: 3 }]]]);
assert.deepEqual(heard, []);
assert.equal(room.state.table.pot, 3);
const late = [];
const stop = room.watch((state) => state.table.pot, (pot) => late.push(pot));
socket.say(["^table", [6, [{ turn: "ben", pot: 5 }]]]);
assert.deepEqual([heard.splice(0), late.splice(0)], [["ben"], [3, 5]], "a late watch is told of the present state");
stop();
console.error = () => {};
room.watch((state) => state.table.pot, (pot) => { if (pot === 7) throw new Error("a mistake of the page"); });
socket.say(["^table", [7, [{ pot: 7 }]]]);
assert.deepEqual([late, room.state.table.pot], [[], 7]);

// A patch that does not fit ends the connection. The next connection brings whole documents.
socket.say(["^table", [9, [{ pot: 9 }]]]);
assert.equal(room.status, "away");
assert.equal(room.state.table.pot, 7);
const before = socket;
socket = await greeted(before);
socket.say(["$welcome", { ...WELCOME, resumed: true, documents: ["table", "hand"] }]);
socket.say(["^hand", [2, null, { cards: ["x"] }], 1]);
assert.deepEqual(heard, []);
socket.say(["^table", [9, null, { turn: "cyn", pot: 9 }]]);
assert.deepEqual(heard, ["cyn", 1]);
socket.say(["^hand", [3, [{}, { cards: [1, 0, ["y"]] }]], 1]);
assert.equal(room.state.hand.cards.length, 1);
socket.say(["^table", [10, [{ pot: 10 }]]]);
assert.deepEqual([room.state.hand.cards, room.state.table.pot], [["x", "y"], 10]);
room.leave();

// A long list does not exceed the number of arguments of a call.
assert.equal(patched([0], [1, 0, new Array(300_000).fill(1)]).length, 300_001);
