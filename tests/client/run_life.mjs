// The life of a page that uses edge.js, in virtual time. Usage: node run_life.mjs <edge.js>
import { pass } from "./fake_clock.mjs";

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

import { FakeSocket, WELCOME } from "./fake_socket.mjs";

const page = new EventTarget();
globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.removeEventListener = page.removeEventListener.bind(page);
globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible", baseURI: "https://edge.test/play/page.html" });
globalThis.location = new URL("about:srcdoc"); // in a srcdoc frame, URLs are relative to the base URI of the document, and not to the location
const tell = (event, fields = {}) => page.dispatchEvent(Object.assign(new Event(event), fields));
const show = (state) => {
  document.visibilityState = state;
  document.dispatchEvent(new Event("visibilitychange"));
};

const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));

/** The answers to the next requests for /session (`answers`), and the requests that were sent (`asked`). */
const answers = [];
const asked = [];
globalThis.fetch = async (url, { headers, credentials, signal }) => {
  asked.push([url, headers, credentials]);
  const answer = answers.shift() ?? { key: "a key" };
  if (answer === "silence") return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  if (answer === "offline") throw new TypeError("failed to fetch");
  if (typeof answer === "string") return new Response(answer);
  const { status = 200, code, ...body } = answer;
  return new Response(JSON.stringify(body), { status, headers: code === undefined ? {} : { "edge-code": String(code) } });
};

const [, , edgePath] = process.argv;
let { join, recall, remember } = await import(pathToFileURL(edgePath).href);

const hello = () => JSON.parse(FakeSocket.newest.sent[0])[1];
const last = () => JSON.parse(FakeSocket.newest.sent.at(-1));
const told = (room) => {
  const states = [];
  room.on("$status", (state) => states.push(state));
  return states;
};
/** Join a room, and answer its hello with a welcome. */
async function opened(options = {}, welcome = {}) {
  const room = join("rooms/a/b", { transports: ["websocket"], ...options });
  await pass(1);
  FakeSocket.newest.say(["$welcome", { ...WELCOME, ...welcome }]);
  assert.equal(room.status, "open");
  return room;
}

const tests = {
  async "the URL of /session has the origin and the prefix of the room's URL"() {
    const room = await opened();
    assert.deepEqual(asked, [["https://edge.test/play/session", { "edge-session": "browser" }, "include"]]);
    assert.equal(hello().key, "a key");
    room.leave();
    join("wss://other.test/rooms/a/b", { session: "tab", transports: ["websocket"] }).leave();
    await pass(1);
    assert.deepEqual(asked[1], ["https://other.test/session", { "edge-session": "tab" }, "omit"]);
  },

  async "after a browser event that may have broken the connection, the page sends a ping, and reconnects soon if no answer arrives"() {
    const wakes = {
      online: () => tell("online"), offline: () => tell("offline"), pageshow: () => tell("pageshow"),
      resume: () => document.dispatchEvent(new Event("resume")), visible: () => { show("hidden"); show("visible"); },
    };
    for (const [event, wake] of Object.entries(wakes)) {
      const room = await opened();
      const [states, socket] = [told(room), FakeSocket.newest];
      await pass(5);
      room.now(); // this call also sends a ping
      await pass(0.1);
      const [, , before] = last();
      wake();
      const [name, , at] = last();
      assert.equal(name, "$ping", `${event}: at once`);
      const pings = socket.sent.filter((frame) => frame.startsWith('["$ping"')).length;
      socket.say(["$ack", 0, before, 1]); // the answer to the ping that was sent before the event
      wake();
      assert.equal(socket.sent.filter((frame) => frame.startsWith('["$ping"')).length, pings, `${event}: no second ping`);
      await pass(2);
      socket.say(["said", {}]); // the room may have sent this message before the event, so that it extends the deadline, but does not answer the ping
      await pass(2);
      assert.equal(room.status, "open");
      socket.say(["$ack", 0, at, 1]);
      await pass(5);
      assert.equal(room.status, "open", `${event}: the ping was answered`);
      wake();
      await pass(2.9);
      assert.equal(room.status, "open");
      await pass(0.2);
      assert.deepEqual(states, ["away"], `${event}: within three seconds`);
      await pass(1);
      assert.notEqual(FakeSocket.newest, socket);
      assert.equal(hello().received, 1, "the page resumes");
      room.leave();
    }
  },

  async "if a resumed welcome acknowledges less than before, the page starts fresh"() {
    const room = await opened();
    room.send("say", {});
    room.send("say", {});
    FakeSocket.newest.say(["$ack", 2]);
    FakeSocket.newest.break();
    await pass(1);
    FakeSocket.newest.say(["$welcome", { ...WELCOME, resumed: true, received: 1 }]);
    await pass(2);
    assert.equal(hello().received, null, "a fresh start");
    FakeSocket.newest.say(["$welcome", { ...WELCOME, why: "miscount" }]);
    assert.equal(room.status, "open");
    room.leave();
  },

  async "an HTTP transport reports doubt after a failed request, and closes after three failed requests in a row"() {
    const { HttpTransport } = await import(new URL("edge-http.js", pathToFileURL(edgePath)).href);
    const told = [];
    const on = { frame: () => {}, close: (code) => told.push(code), doubt: () => told.push("doubt") };
    answers.push("offline", "offline", "offline");
    void new HttpTransport("https://edge.test/rooms/a/b", "poll", "edge.1.json", on);
    await pass(0.1);
    assert.deepEqual(told, ["doubt"]);
    await pass(3);
    assert.deepEqual(told, ["doubt", "doubt", 4000]);
  },

  async "a hidden page keeps its connection, and answers a ping without waiting for a timer"() {
    const room = await opened();
    show("hidden");
    const before = FakeSocket.newest.sent.length;
    FakeSocket.newest.say(["$ping", 0, 3]);
    assert.deepEqual(last().slice(0, 3), ["$ack", 0, 3]);
    assert.equal(FakeSocket.newest.sent.length, before + 1);
    show("visible");
    room.leave();
  },

  async "an offline page does not try to connect, and connects without backoff when the network is back"() {
    const room = await opened();
    FakeSocket.newest.break();
    const socket = FakeSocket.newest;
    tell("offline");
    await pass(0);
    assert.equal(FakeSocket.newest, socket);
    tell("online");
    await pass(0);
    assert.notEqual(FakeSocket.newest, socket);
    room.leave();
  },

  async "after a lost connection, two attempts have a short time-out each, and do not change the transport"() {
    const room = await opened({ transports: ["websocket", "poll"] });
    await pass(6);
    /** Return the seconds until another connection is tried, backoff included. */
    const next = async () => {
      const socket = FakeSocket.newest;
      let waited = 0;
      for (; FakeSocket.newest === socket && waited < 30; waited += 0.1) await pass(0.1);
      return waited;
    };
    FakeSocket.newest.break();
    assert.ok(await next() < 0.7);
    for (const backoff of [0.5, 1]) { // the server is stopped, so that the connection opens, but no welcome arrives
      const silent = await next() - backoff;
      assert.ok(3.9 < silent && silent < 4.2, `${silent} s`);
    }
    FakeSocket.newest.say(["$welcome", WELCOME]);
    assert.equal(room.status, "open", "the next connection is still a WebSocket");
    room.leave();
    const unknown = join("rooms/a/b", { transports: ["websocket"] });
    await pass(0.1);
    const slow = await next();
    assert.ok(5 < slow && slow < 5.5, `${slow} s: a server that never sent a welcome may be far away`);
    unknown.leave();
  },

  async "a page that enters the browser's cache sends its goodbye after all other messages, and resumes later"() {
    const room = await opened();
    const socket = FakeSocket.newest;
    const say = () => room.send("draft", {});
    page.addEventListener("pagehide", say);
    tell("pagehide", { persisted: true });
    show("hidden");
    page.removeEventListener("pagehide", say);
    assert.deepEqual(socket.sent.slice(-2).map((frame) => JSON.parse(frame)[0]), ["draft", "$bye"]);
    assert.equal(room.status, "away");
    show("visible");
    tell("pageshow", { persisted: true });
    await pass(0);
    const { client, received } = hello();
    assert.equal(received, 0, "the page resumes");
    FakeSocket.newest.say(["$bye", { code: 4220, reason: "another page of yours took the seat" }]);
    await pass(0);
    assert.equal(hello().received, null, "the page starts fresh only after this goodbye");
    assert.notEqual(hello().client, client);
    FakeSocket.newest.say(["$welcome", { ...WELCOME, why: "moved" }]);
    FakeSocket.newest.say(["$bye", { code: 4220, reason: "another page of yours took the seat" }]);
    assert.equal(room.status, "closed", "a second goodbye closes the room");
  },

  async "a hidden page that is unloaded sends no goodbye, so that its `pagehide` handlers can still send"() {
    const room = await opened();
    show("hidden");
    page.addEventListener("pagehide", () => room.send("draft", {}), { once: true });
    tell("pagehide", { persisted: false });
    assert.equal(last()[0], "draft");
    document.dispatchEvent(new Event("freeze")); // the browser may put the page into its cache instead of unloading it
    assert.equal(last()[0], "$bye");
    show("visible");
    room.leave();
  },

  async "a failed request for a key is repeated"() {
    answers.push("offline", { status: 502 }, "<h1>log in to this hotel</h1>", "silence", { status: 503, code: 4005 }, { key: "at last" });
    const room = join("rooms/a/b", { transports: ["websocket"] });
    await pass(30);
    assert.equal(hello().key, "at last");
    assert.equal(warnings.length, 5);
    room.leave();
  },

  async "a refusal of /session closes the room with its code and a warning"() {
    for (const [status, code, times] of [[403, 4208, 1], [401, 4205, 2], [401, 4206, 1], [421, 4208, 1]]) { // after 4205 the page repeats the request once, because its key may be too old
      for (let time = 0; time < times; time += 1) answers.push({ status, code, message: "not you" });
      const room = join("rooms/a/b", { transports: ["websocket"] });
      await pass(1);
      assert.deepEqual(room.ending, { code, reason: "not you" });
      assert.match(warnings.pop(), new RegExp(`no seat in https://edge.test/play/rooms/a/b: ${code} not you`));
    }
  },

  async "if /session is missing or never answers, the page joins without a key, as a guest"() {
    for (const [silent, seconds, warned] of [[[{ status: 404 }], 1, /there is no .*session/], [Array(4).fill("silence"), 20, /does not answer/]]) {
      const before = FakeSocket.newest;
      answers.push(...silent);
      const room = join("rooms/a/b", { transports: ["websocket"] });
      await pass(seconds);
      assert.equal(FakeSocket.newest === before, false);
      assert.equal(hello().key, null);
      assert.match(warnings.at(-1), warned);
      if (silent.length > 1) { // if the room then refuses guests, the page requests a key again
        for (const answered of [silent, silent, []]) {
          answers.push(...answered);
          const refused = FakeSocket.newest;
          refused.say(["$bye", { code: 4205, reason: "a key is needed" }]);
          while (FakeSocket.newest === refused && room.status !== "closed") await pass(1);
          assert.notEqual(room.status, "closed");
        }
        assert.equal(hello().key, "a key");
      }
      room.leave();
    }
  },

  async "a key function that does not return is called again"() {
    let calls = 0;
    const room = join("rooms/a/b", { transports: ["websocket"], key: () => (++calls === 1 ? new Promise(() => {}) : "the key") });
    await pass(25);
    assert.equal(calls, 2);
    assert.equal(hello().key, "the key");
    room.leave();
  },

  async "a key is renewed before it expires, even if the first request fails"() {
    answers.push({ key: "old", renew_after: 100 }, { status: 502 }, { key: "new", renew_after: 100 });
    const room = await opened({ transports: ["websocket"] });
    for (let seconds = 0; seconds < 200; seconds += 10) {
      FakeSocket.newest.say(["$ping", 0, seconds]);
      await pass(10);
    }
    assert.equal(asked.length, 3);
    assert.equal(asked[2][1].authorization, "Bearer old");
    FakeSocket.newest.break();
    await pass(1);
    assert.equal(hello().key, "new");
    assert.equal(hello().received, 0, "the page resumes its seat");
    room.leave();
    for (const other of [await opened()]) { // the next room of this page uses the new key
      assert.equal(hello().key, "new");
      other.leave();
    }
  },

  async "a page that was asleep renews its key before it reconnects"() {
    answers.push({ key: "old", renew_after: 100 }, { key: "new", renew_after: 100 });
    const room = await opened();
    FakeSocket.newest.break();
    tell("pagehide", {});
    show("hidden"); // while hidden, the page does not connect
    await pass(150);
    show("visible");
    await pass(1);
    assert.equal(hello().key, "new");
    room.leave();
  },

  async "a lone surrogate is replaced by U+FFFD, and the rest of its text is sent unchanged"() {
    const half = "😀".slice(0, 1);
    const room = await opened({ name: half });
    assert.equal(hello().name, "\ufffd");
    for (const [text, sent] of [[half, "\ufffd"], ["\\ud83d", "\\ud83d"], [`\\${half}\\`, "\\\ufffd\\"], ["😀", "😀"]]) {
      room.send("say", { text, [text]: 1 });
      assert.deepEqual(last(), ["say", { text: sent, [sent]: 1 }]);
    }
    room.leave();
  },

  async "join, send and request throw for invalid names"() {
    assert.throws(() => join("rooms/a/b", { name: 7 }), TypeError);
    assert.throws(() => join("rooms/a/b", { name: "é".repeat(257) }), RangeError);
    assert.throws(() => join("ftp://edge.test/rooms/a/b"), TypeError);
    const room = await opened({ name: "é".repeat(256) });
    for (const name of ["", "$bye", "~cursor", "=x", undefined]) {
      assert.throws(() => room.send(name), TypeError);
      await assert.rejects(room.request(name), TypeError);
    }
    room.leave();
  },

  async "sizes are counted in bytes, not in characters"() {
    const room = await opened({}, { message_bytes: 100 });
    room.send("say", { text: "x".repeat(81) });
    assert.throws(() => room.send("say", { text: "é".repeat(41) }), /is 101 bytes, and the room reads 100 at most/);
    FakeSocket.newest.say(["$ack", 1]);
    FakeSocket.newest.say(["$welcome", {}]);
    room.leave();
    const other = await opened({}, { ack_bytes: 60 });
    FakeSocket.newest.say(["said", { text: "é".repeat(25) }]);
    assert.deepEqual(last(), ["$ack", 1], "acknowledged at once, because the frame has 68 bytes");
    other.leave();
  },

  async "an error of the room goes to the page's handler, or without one, once to the console"() {
    const room = await opened();
    for (let times = 0; times < 3; times += 1) FakeSocket.newest.say(["!invalid", { message: "text: expected text", about: "say" }]);
    FakeSocket.newest.say(["news", {}]);
    assert.deepEqual(warnings, [
      "edge: say: invalid: text: expected text", "edge: news: unknown_event: this page has no handler",
    ]);
    const errors = [];
    room.on("$error", (error) => errors.push(error));
    FakeSocket.newest.say(["!invalid", { message: "text: expected text", about: "say" }]);
    assert.deepEqual(errors, [{ problem: "invalid", message: "text: expected text", about: "say" }]);
    room.leave();
    assert.equal(room.send("say", {}), false);
    assert.deepEqual(errors.at(-1), { problem: "gone", message: "the room is closed: left", about: "say" });
    assert.equal(warnings.length, 2);
  },

  async "send returns false only for an event that is dropped"() {
    const room = await opened();
    assert.equal(room.send("say", {}, { delivery: "volatile" }), true);
    FakeSocket.newest.break();
    assert.equal(room.send("say", {}, { delivery: "volatile" }), false, "dropped while away");
    assert.equal(room.send("say", {}), true);
    assert.equal(room.send("say", {}, { delivery: "latest" }), true);
    room.leave();
  },

  async "the welcome sets room.guest"() {
    const room = join("rooms/a/b", { transports: ["websocket"] });
    assert.equal(room.guest, null);
    await pass(1);
    FakeSocket.newest.say(["$welcome", { ...WELCOME, guest: true }]);
    assert.equal(room.guest, true);
    room.leave();
  },

  async "values that the browser can't store are remembered while the page is open"() {
    const forbidden = { get: () => { throw new DOMException("denied", "SecurityError"); }, configurable: true };
    for (const blocked of [forbidden, { value: undefined, configurable: true }]) {
      Object.defineProperty(globalThis, "sessionStorage", blocked);
      assert.equal(recall("sessionStorage", "table"), "");
      remember("sessionStorage", "table", "one");
      assert.equal(recall("sessionStorage", "table"), "one");
      remember("sessionStorage", "table", "");
      assert.equal(recall("sessionStorage", "table"), "");
    }
  },
};

for (const [name, test] of Object.entries(tests)) {
  for (const list of [warnings, asked, answers]) list.length = 0;
  ({ join, recall, remember } = await import(`${pathToFileURL(edgePath).href}?${encodeURIComponent(name)}`)); // a new instance of edge.js, which remembers no keys
  try {
    await test();
  } catch (error) {
    console.error(`failed: ${name}`);
    throw error;
  }
  document.visibilityState = "visible";
}
console.log(`${Object.keys(tests).length} tests`);
process.exit(0);
