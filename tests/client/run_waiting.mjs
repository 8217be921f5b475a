// Waits of a page: for a room that opens slowly, and for requests whose deadline moves. Usage: node run_waiting.mjs <edge.js>
import { pass } from "./fake_clock.mjs";
import { FakeSocket, WELCOME } from "./fake_socket.mjs";

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const [, , edgePath] = process.argv;
const { RequestFailed, join } = await import(pathToFileURL(edgePath).href);

// A ping before the welcome restarts the wait for the welcome. Without another ping, the page gives up.
const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none", options: { stakes: 5 }, create: "only" });
await pass(0.1);
const socket = FakeSocket.newest;
const [sign, hello] = JSON.parse(socket.sent[0]);
assert.deepEqual([sign, hello.options, hello.create], ["$hello", { stakes: 5 }, "only"]);
for (let time = 0; time < 10; time += 1) {
  await pass(4);
  socket.say(["$ping", 0]);
}
await pass(4);
assert.equal(FakeSocket.newest, socket, "the page still waits");
assert.equal(socket.sent.length, 1, "the page does not answer these pings");
socket.say(["$welcome", WELCOME]);
await pass(0.1);
assert.equal(room.status, "open");

// The room moves the deadline of a request, then cancels the request.
let signal;
room.answer("choose", (body, options) => {
  signal = options.signal;
  return new Promise((resolve) => options.signal.addEventListener("abort", () => resolve(undefined)));
});
socket.say(["choose", {}, 1, 5]);
await pass(4);
socket.say(["-", 10, 1]);
await pass(9);
assert.equal(signal.aborted, false, "the deadline has moved");
await pass(1.1);
assert.equal(signal.aborted, true, "the new deadline has passed");
assert.equal(JSON.parse(socket.sent.at(-1))[0], "!cancelled");
socket.say(["choose", {}, 2, 5]);
await pass(1);
socket.say(["-", null, 2]);
await pass(0.1);
assert.equal(signal.aborted, true, "the room no longer waits");

// A refusal has a message and data.
const failed = room.request("bet", { chips: 20 }).catch((error) => error);
socket.say(["!refused", { message: "not enough chips", about: "bet", data: ["short", { missing: 10 }] }, 1]);
const error = await failed;
assert.ok(error instanceof RequestFailed);
assert.deepEqual([error.problem, error.message, error.data], ["refused", "not enough chips", { name: "short", body: { missing: 10 } }]);

// Without a ping, the page gives up its wait for the welcome.
const other = join("ws://edge.test/rooms/a/c", { name: "ben", key: "none", transports: ["websocket"] });
await pass(0.1);
const first = FakeSocket.newest;
await pass(6);
assert.notEqual(FakeSocket.newest, first, "the page has connected again");
other.leave();
room.leave();
process.exit(0);
