// Mistakes of a page's author. Usage: node run_mistakes.mjs <edge.js>
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

import { WELCOME, greeted } from "./fake_socket.mjs";

const [, , edgePath] = process.argv;
const { join } = await import(pathToFileURL(edgePath).href);
console.error = () => {}; // hide the errors of handlers that fail

const url = "ws://edge.test/rooms/a/b";
for (const options of [{ key: 3 }, { key: "" }, { key: {} }, { transports: "poll" }, { transports: [] }, { session: "page" }, { name: 3 }, { options: 3 }]) {
  assert.throws(() => join(url, options), TypeError, JSON.stringify(options));
}

assert.throws(() => join(url, { name: "x".repeat(513) }), /name is 515 bytes/);
assert.throws(() => join(url, { options: { note: "x".repeat(1100) } }), /options is 1111 bytes/);

const room = join(url, { name: "ana", key: "none" });
const socket = await greeted();
socket.say(["$welcome", WELCOME]);
for (const delivery of ["foo", "Reliable", null, 3]) assert.throws(() => room.send("ping", {}, { delivery }), /no such delivery/);
for (const handler of [undefined, 3, "f"]) {
  assert.throws(() => room.on("pong", handler), /a handler must be a function/);
  assert.throws(() => room.answer("ask", handler), /a handler must be a function/);
}
for (const seconds of [NaN, -1, Infinity, "1"]) await assert.rejects(room.request("guess", {}, { seconds }), /seconds must be a finite number/);

const answers = { number: 5, text: "ans", badName: [3, {}], nothing: undefined };
let id = 0;
for (const [name, answer] of Object.entries(answers)) {
  room.answer(name, () => answer);
  socket.say([name, {}, ++id]);
  await new Promise((resolve) => setTimeout(resolve));
  const [sign, , about] = JSON.parse(socket.sent.at(-1));
  assert.deepEqual([sign, about], [name === "nothing" ? "!not_now" : "!crashed", id], name);
}
room.leave();
process.exit(0);
