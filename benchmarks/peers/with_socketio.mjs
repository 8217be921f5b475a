// Node's Socket.IO, over ws with bufferutil, WebSocket only: an echo, and rooms.
import { createServer } from "node:http";

import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  socket.join(room);
  socket.on("say", (event) => {
    if (process.argv[3] === "echo") socket.emit("say", event);
    else io.to(room).emit("say", event);
  });
});

http.listen({ host: "127.0.0.1", port: +process.argv[2], backlog: 4096 });
