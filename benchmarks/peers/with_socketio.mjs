// Node's Socket.IO, over ws with bufferutil, WebSocket only: an echo, and rooms; with others by a Redis, if one is named.
import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

if (process.argv[4] !== undefined) {
  const publisher = createClient({ url: process.argv[4] });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  socket.join(room);
  socket.on("say", (event) => {
    if (process.argv[3] === "echo") socket.emit("say", event);
    else io.to(room).emit("say", event);
  });
});

http.listen({ host: "127.0.0.1", port: +process.argv[2], backlog: 4096 });
