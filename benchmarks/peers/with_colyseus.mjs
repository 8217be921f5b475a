// Colyseus over ws: an echo, rooms, and rooms that tell 300 bytes of state thirty times a second.
import { createServer } from "node:http";

import { Room, Server } from "@colyseus/core";
import { WebSocketTransport } from "@colyseus/ws-transport";

const INTERVAL = 33; // ms: thirty times a second, as near as Node's timers come to it
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
    let last = micros();
    this.setSimulationInterval(() => {
      const now = micros();
      const late = Math.max(0, now - last - INTERVAL * 1000); // after the last tick: there is no deadline to be late for
      last = now;
      this.broadcast("state", { at: now, late, text: "x".repeat(260) });
    }, INTERVAL);
  }
}

const server = new Server({ transport: new WebSocketTransport({ server: createServer() }), greet: false });
server.define("bench", Said).filterBy(["room"]);
await server.listen(+process.argv[2], "127.0.0.1");
