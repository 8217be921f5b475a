// Rooms in Colyseus that share a world of 4, 40 or 550 discs twenty times a second, as shares_edge.py does.
import { createServer } from "node:http";

import { Room, Server } from "@colyseus/core";
import { StateView, schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";

const SIDE = 10_000;
const PARTS = 4;
const Disc = schema({ x: t.float32(), y: t.float32(), score: t.number(), alive: t.boolean() }, "Disc");
const World = schema({ at: t.uint32(), discs: t.map(Disc) }, "World");
const SeenWorld = schema({ at: t.uint32(), discs: t.map(Disc).view() }, "SeenWorld");

function kind(size, some, part) {
  return class extends Room {
    maxClients = 10_000;
    patchRate = null; // a patch leaves directly after the change, not up to 50 ms later

    onCreate() {
      this.state = new (part ? SeenWorld : World)();
      this.discs = [];
      for (let number = 0; number < size; number += 1) {
        const disc = new Disc();
        Object.assign(disc, { x: SIDE * Math.random(), y: SIDE * Math.random(), score: 0, alive: true });
        this.discs.push(disc);
        this.state.discs.set(String(number), disc);
      }
      this.setSimulationInterval(() => {
        for (let number = 0; number < some; number += 1) {
          this.discs[number].x = (this.discs[number].x + 12.34) % SIDE;
          this.discs[number].y = (this.discs[number].y + 23.45) % SIDE;
        }
        this.state.at = Number((process.hrtime.bigint() / 1000n) % 4294967296n);
        this.broadcastPatch();
      }, 50);
    }

    onJoin(client, options) {
      if (!part) return;
      client.view = new StateView();
      this.discs.forEach((disc, number) => {
        if (number % PARTS === options.number % PARTS) client.view.add(disc);
      });
    }
  };
}

const server = new Server({ transport: new WebSocketTransport({ server: createServer() }), greet: false });
for (const size of [4, 40, 550]) {
  for (const [change, some] of [["few", 1], ["all", size]]) {
    for (const seen of ["all", "part"]) server.define(`${size}-${change}-${seen}`, kind(size, some, seen === "part"));
  }
}
await server.listen(+process.argv[2], "127.0.0.1");
