"""WebSocket transports: a server's fast path, slow path and socket reader, and the client's transport."""
