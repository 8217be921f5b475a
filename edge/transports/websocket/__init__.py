"""WebSocket: the fast path and the reader of a server, the slow path with trio-websocket, and the client."""
