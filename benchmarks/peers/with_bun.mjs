// Bun's own WebSocket server, without compression: an echo, and rooms.
Bun.serve({
  hostname: "127.0.0.1",
  port: +Bun.argv[2],
  fetch(request, server) {
    const [, kind, room] = new URL(request.url).pathname.split("/");
    if (!server.upgrade(request, { data: { kind, room } })) return new Response("a WebSocket is needed", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    publishToSelf: true,
    open(socket) {
      socket.subscribe(socket.data.room);
    },
    message(socket, message) {
      const text = JSON.stringify(JSON.parse(message));
      if (socket.data.kind === "echo") socket.send(text);
      else socket.publish(socket.data.room, text);
    },
  },
});
