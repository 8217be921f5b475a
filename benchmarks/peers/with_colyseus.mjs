// Colyseus over ws: an echo, rooms, and rooms that tell 300 bytes of state thirty times a second.
import { createServer } from "node:http";

import { matchMaker, Room, Server } from "@colyseus/core";
import { WebSocketTransport } from "@colyseus/ws-transport";

const HZ = 30;
const micros = () => Number(process.hrtime.bigint() / 1000n);

class Said extends Room {
  maxClients = 10_000;
  patchRate = null; // what is told is told by messages: there is no state to compare

  onCreate() {
    this.onMessage("say", (client, event) => {
      if (process.argv[3] === "echo") client.send("say", event);
      else if (process.argv[3] === "room") this.broadcast("say", event);
    });
    if (process.argv[3] !== "states") return;
    let due = micros() + 1e6 / HZ;
    const tick = () => {
      const now = micros();
      this.broadcast("state", { at: now, late: Math.max(0, Math.round(now - due)), text: "x".repeat(260) });
      due += 1e6 / HZ;
      this.clock.setTimeout(tick, Math.max(0, (due - micros()) / 1000));
    };
    this.setSimulationInterval(() => undefined, 1000 / HZ); // what drives the room's clock
    this.#tick = setTimeout(function again() {
      const now = micros();
      if (now >= due) tick.call();
    }, 0);
  }

  #tick;
}

const server = new Server({ transport: new WebSocketTransport({ server: createServer() }), greet: false });
server.define("bench", Said).filterBy(["room"]);
await server.listen(+process.argv[2], "127.0.0.1");
