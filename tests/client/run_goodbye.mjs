// Goodbyes that a room of edge.js receives. Usage: node run_goodbye.mjs <edge.js>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { WELCOME, greeted } from "./fake_socket.mjs";

const [, , edgePath] = process.argv;
const { join } = await import(pathToFileURL(edgePath).href);
Math.random = () => 0; // reconnect at once

const hello = (socket) => JSON.parse(socket.sent[0])[1];
const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none" });
let socket = await greeted();
socket.say(["$welcome", WELCOME]);
for (const number of [1, 2, 3]) room.send("add", { number });
socket.break();

// A goodbye before the welcome does not end the seat.
socket = await greeted(socket);
socket.say(["$bye", { code: 4100, reason: "the server is shutting down" }]);
socket = await greeted(socket);
assert.deepEqual([hello(socket).received, hello(socket).since], [0, 1]);
socket.say(["$welcome", { ...WELCOME, resumed: true, why: "", received: 1 }]);
assert.deepEqual(socket.sent.slice(1), ['["add",{"number":2}]', '["add",{"number":3}]']);

// A goodbye after the welcome ends the seat, and drops the unacknowledged messages.
socket.say(["$bye", { code: 4100, reason: "the server is shutting down" }]);
room.send("add", { number: 4 });
socket = await greeted(socket);
assert.deepEqual([hello(socket).received, hello(socket).since], [null, null]);
socket.say(["$welcome", WELCOME]);
assert.deepEqual(socket.sent.slice(1), ['["add",{"number":4}]']);
process.exit(0);
