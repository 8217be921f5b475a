// Node's ws, with its optional bufferutil: an echo, and rooms.
import { WebSocketServer } from "ws";

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: +process.argv[2], perMessageDeflate: false, backlog: 4096 });

server.on("connection", (socket, request) => {
  const [, kind, room] = request.url.split("/");
  if (!rooms.has(room)) rooms.set(room, new Set());
  const members = rooms.get(room);
  members.add(socket);
  socket.on("close", () => members.delete(socket));
  socket.on("message", (message) => {
    const text = JSON.stringify(JSON.parse(message));
    if (kind === "echo") return socket.send(text);
    for (const member of members) member.send(text);
  });
});
