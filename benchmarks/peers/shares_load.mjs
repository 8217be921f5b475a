// Clients that share the state of a room. Usage: node shares_load.mjs PORT edge|colyseus KIND CLIENTS SECONDS PATH_OF_EDGE_JS
// It prints "joined" to stderr, waits for a line, and prints what arrived: bytes and patches of one client, and the times
// from the change on the server to the callback of each client, in microseconds.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import WebSocket from "ws";

const [port, peer, kind, clients, seconds, edge] = process.argv.slice(2);
let bytes = 0;
let patches = 0;
let delays = [];
let changed = () => {};

globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, typeof protocols === "string" || Array.isArray(protocols) ? protocols : []);
    this.on("message", (data) => { bytes += data.byteLength; });
  }
};

const seen = (at) => {
  const now = Number((process.hrtime.bigint() / 1000n) % 4294967296n);
  patches += 1;
  delays.push((now - at + 4294967296) % 4294967296);
  changed();
};

async function joinEdge(number) {
  const { join } = await import(pathToFileURL(edge).href);
  const { key } = await (await fetch(`http://127.0.0.1:${port}/session`, { method: "POST", headers: { "edge-session": "1" } })).json(); // one person for each
  const room = join(`http://127.0.0.1:${port}/rooms/${kind}/bench`, { name: String(number), key });
  room.watch((state) => state.world.at, seen);
}

async function joinColyseus(number) {
  const { Client } = await import("@colyseus/sdk");
  const room = await new Client(`ws://127.0.0.1:${port}`).joinOrCreate(kind, { number });
  room.onStateChange((state) => seen(state.at));
}

for (let number = 0; number < +clients; number += 1) await (peer === "edge" ? joinEdge : joinColyseus)(number);
await new Promise((resolve) => { changed = () => { if (patches > 10 * +clients) resolve(); }; });
changed = () => {};
process.stderr.write("joined\n");
await new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve));
[bytes, patches, delays] = [0, 0, []];
await new Promise((resolve) => { setTimeout(resolve, +seconds * 1000); });
delays.sort((one, other) => one - other);
const share = (part) => delays[Math.floor(part * (delays.length - 1))];
console.log(JSON.stringify({ bytes: bytes / patches, ticks: patches / +clients, p50: share(0.5), p99: share(0.99) }));
process.exit(0);
