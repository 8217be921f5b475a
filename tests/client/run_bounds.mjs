// A page that sends too much. Usage: node run_bounds.mjs <edge.js>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

import { FakeSocket, WELCOME, greeted } from "./fake_socket.mjs";

Math.random = () => 0; // reconnect at once
const [, , edgePath] = process.argv;
const { RequestFailed, join } = await import(pathToFileURL(edgePath).href);

const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none" });
const errors = [];
room.on("$error", (error) => errors.push(error));
let socket = await greeted();
socket.say(["$welcome", { ...WELCOME, message_bytes: 100 }]);

// If a message is too long for the room, the call throws, and nothing is sent or stored.
const long = { text: "x".repeat(100) };
for (const send of [() => room.send("say", long), () => room.send("say", long, { delivery: "latest" }),
  () => room.send("say", long, { delivery: "volatile" })]) {
  assert.throws(send, (error) => error instanceof RangeError && /the room reads 100 at most/.test(error.message));
}
await assert.rejects(room.request("ask", long), RangeError);
assert.equal(socket.sent.length, 1, "only the hello was sent");
assert.equal(room.waiting, 0);
room.answer("choose", () => ["chosen", long]);
console.error = () => {};
socket.say(["choose", {}, 1]);
await new Promise((resolve) => setTimeout(resolve));
assert.equal(JSON.parse(socket.sent[1])[0], "!crashed", "the room gets an error instead of an answer");

// If too many messages are unacknowledged, they are dropped with an error, and the page starts fresh, both while away
// and while connected.
for (const away of [true, false]) {
  socket.say(["$ack", room.waiting]);
  assert.equal(room.waiting, 0);
  errors.length = 0;
  if (away) {
    socket.break();
    assert.equal(room.status, "away");
  }
  const failed = assert.rejects(room.request("ask", {}), (error) => error instanceof RequestFailed && error.problem === "gone");
  for (let i = 1; i < 2048; i += 1) room.send("say", {});
  assert.equal(room.waiting, 2048);
  room.send("say", { text: "one too many" });
  await failed;
  assert.equal(room.waiting, 0);
  assert.deepEqual(errors.map(({ problem, message }) => [problem, /^2049 messages/.test(message)]), [["behind", true]]);
  assert.equal(room.status, "away");
  room.send("say", { text: "after" });
  const before = socket;
  socket = await greeted(before);
  const [, hello] = JSON.parse(socket.sent[0]);
  assert.deepEqual([hello.received, hello.since], [null, null], "the page requests a fresh start");
  socket.say(["$welcome", { ...WELCOME, why: "behind", message_bytes: 100 }]);
  assert.equal(room.status, "open");
  assert.deepEqual(socket.sent.slice(1).map((frame) => JSON.parse(frame)), [["say", { text: "after" }]]);
  if (!away) assert.equal(JSON.parse(before.sent.at(-1))[0], "$bye", "the server got a goodbye");
}
room.leave();
assert.ok(FakeSocket.newest === socket);
process.exit(0);
