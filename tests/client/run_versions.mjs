// A page that was loaded from an older server. Usage: node run_versions.mjs <edge.js>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

import { WELCOME, greeted } from "./fake_socket.mjs";

Math.random = () => 0; // reconnect at once
const [, , edgePath] = process.argv;
const { join } = await import(pathToFileURL(edgePath).href);

const room = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none", transports: ["websocket"] });
const [errors, outdated, heard] = [[], [], []];
room.on("$error", (error) => errors.push(error));
room.on("$outdated", (vocabulary) => outdated.push(vocabulary));
room.on("known", (body) => heard.push(body));

let socket = await greeted();
assert.equal(JSON.parse(socket.sent[0])[1].vocabulary, "", "the page has no vocabulary yet");
socket.say(["$welcome", { ...WELCOME, vocabulary: "one", newer: true }]);
for (let i = 0; i < 3; i += 1) socket.say(["unknown", {}]);
socket.say(["~alsounknown", {}]);
socket.say(["known", { text: "hi", newer: 1 }]);
assert.deepEqual(errors.map(({ problem, about }) => [problem, about]), [["unknown_event", "unknown"], ["unknown_event", "alsounknown"]]);
assert.deepEqual(heard, [{ text: "hi", newer: 1 }]);
assert.equal(room.outdated, false);

for (const [vocabulary, told] of [["one", []], ["two", ["two"]], ["two", ["two"]], ["one", ["two"]]]) {
  socket.break();
  socket = await greeted(socket);
  assert.equal(JSON.parse(socket.sent[0])[1].vocabulary, "one", "the vocabulary that this page was made for");
  socket.say(["$welcome", { ...WELCOME, resumed: true, why: "", received: 0, vocabulary }]);
  assert.deepEqual(outdated, told);
  assert.equal(room.outdated, vocabulary !== "one");
}
room.leave();

// A page that says for which events it was built notices other events at its first welcome.
const built = join("ws://edge.test/rooms/a/b", { name: "ana", key: "none", transports: ["websocket"], vocabulary: "one" });
built.on("$outdated", (vocabulary) => outdated.push(vocabulary));
socket = await greeted(socket);
assert.equal(JSON.parse(socket.sent[0])[1].vocabulary, "one");
assert.equal(built.outdated, false);
socket.say(["$welcome", { ...WELCOME, vocabulary: "three" }]);
assert.deepEqual(outdated, ["two", "three"]);
assert.equal(built.outdated, true);
built.leave();
process.exit(0);
