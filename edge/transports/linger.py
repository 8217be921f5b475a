"""Closing a stream on a peer that is still sending."""

from __future__ import annotations

import contextlib

import trio

# How long to read on.
LINGER_SECONDS = 1.0


async def send_eof(stream: trio.abc.Stream) -> None:
    """Say that nothing more comes, on a stream that has a half-close. TLS has none."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    else:
        await trio.lowlevel.checkpoint()


async def linger(stream: trio.abc.Stream) -> None:
    """Say that nothing more comes, then read and forget what the peer still sends, for a second at most.

    Closing at once, with bytes unread, would reset the connection, and the peer would lose our last words (RFC 9112
    section 9.6). If another task reads the stream, as trio-websocket's does, it reads what is left.
    """
    over = contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
    with trio.move_on_after(LINGER_SECONDS), over:
        await send_eof(stream)
        while await stream.receive_some(65536):
            pass
