"""A helper that opens a WebSocket over loopback, for tests of both ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from edge.transports.http.http import HttpConnection
from edge.transports.websocket.reader import SocketReader
from edge.transports.websocket.websocket import ServedWebSocket, WebSocketTransport, open_websocket, switching_response

SUBPROTOCOL = "edge.1.json"
MAX_BYTES = 256 * 1024


@asynccontextmanager
async def websocket_pair(socket_reader: SocketReader) -> AsyncIterator[tuple[WebSocketTransport, ServedWebSocket]]:
    """Open a WebSocket over loopback, and yield the client's end and the server's end."""
    ready: trio.MemorySendChannel[ServedWebSocket]
    ready, accepted = trio.open_memory_channel(1)

    async def accept(stream: trio.SocketStream) -> None:
        connection = HttpConnection(stream)
        request = await connection.next_request(idle=5, seconds=5)
        assert request is not None
        granting = switching_response(request.headers["sec-websocket-key"], SUBPROTOCOL)
        ahead = connection.switch()
        await ready.send(
            ServedWebSocket(stream, ahead, granting=granting, max_bytes=MAX_BYTES, socket_reader=socket_reader)
        )
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, accept, 0)
        stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        async with open_websocket(stream, "localhost", "/rooms/a/b", subprotocol=SUBPROTOCOL) as client:
            server = await accepted.receive()
            yield client, server
            await client.close()
            await server.close()
        nursery.cancel_scope.cancel()
