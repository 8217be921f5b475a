"""Close a stream while the peer is still sending, so that the peer receives the last bytes of this side."""

from __future__ import annotations

import contextlib

import trio

# The maximum time for which `linger` reads, in seconds.
LINGER_SECONDS = 1.0


async def send_eof(stream: trio.abc.Stream) -> None:
    """Half-close a stream, if the stream supports it. TLS streams do not."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    else:
        await trio.lowlevel.checkpoint()


async def linger(stream: trio.abc.Stream) -> None:
    """Half-close a stream. Then read and drop bytes until the peer closes, for one second at most.

    Closing a stream with unread bytes would reset the connection, and the peer could lose the last bytes of this side
    (RFC 9112 section 9.6). If another task is reading the stream, such as trio-websocket's, that task reads the rest.
    """
    over = contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
    with trio.move_on_after(LINGER_SECONDS), over:
        await send_eof(stream)
        while await stream.receive_some(65536):
            pass
