"""How a program joins a room: a client that is kept connected in the background."""

from __future__ import annotations

import random
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import trio

from ..protocol.codec import JSON, Codec, size_of
from ..protocol.limits import Limits
from ..protocol.messages import MAX_NAME_BYTES
from .client import Client
from .fallback import TransportKind
from .url import UrlConnector

Sent = TypeVar("Sent")
Heard = TypeVar("Heard")

# Full jitter: the n-th wait is anything up to min(longest, shortest * 2**n), so that a crowd does not return at once.
SHORTEST_WAIT = 0.5
LONGEST_WAIT = 30.0


async def back_off(attempt: int) -> None:
    """Wait before the next attempt to connect, after so many in vain."""
    longest = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(attempt, 16))
    await trio.sleep(random.uniform(0, longest))  # noqa: S311  # jitter, not a secret


@asynccontextmanager
async def open_client(client: Client[Sent, Heard]) -> AsyncIterator[Client[Sent, Heard]]:
    """Run a client in the background while the block runs; it leaves when the block ends."""
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        except Exception as exc:
            fault = exc  # raised below, outside of the nursery, which would put it into a group
        finally:
            client.leave()
    if fault is not None:
        raise fault


def join(
    url: str,
    *,
    sends: type[Sent] | Any,
    receives: type[Heard] | Any,
    name: str = "",
    key: str | Callable[[], Awaitable[str]] | None = None,
    codec: Codec = JSON,
    limits: Limits | None = None,
    inbox: int = 1024,
    transports: tuple[TransportKind, ...] = tuple(TransportKind),
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[Client[Any, Any]]:
    """``async with edge.join("ws://localhost:8000/rooms/drawing/one", sends=..., receives=..., name="ana") as client:``

    Connects in the background, and again with full-jitter backoff whenever the connection is lost; leaves the room when
    the block ends. `Client.state` tells how it goes.

    Args:
      url: ``ws://`` or ``wss://`` (``http`` and ``https`` mean the same), host, and ``/rooms/<kind>/<name>``. A query
        is passed on, and a user and password before the host as ``Authorization: Basic``. The first redirect to the
        same host is followed.
      sends: the union of events that players send.
      receives: the union of events that players are sent.
      name: what to be called, 512 bytes at most.
      key: the key of the session whose seat it is, see `Keys`; or what gives one, asked at each connection, and again
        if none comes within 20 seconds. Without one, the session is this client's alone.
      inbox: how many events may wait to be received before it stops reading.
      transports: which to try, best first.
      tls: for ``wss://``; the default verifies the server.
      headers: further headers of its requests, for a gateway in front of the server.

    Raises:
      ValueError: not such a URL, not such headers, or a name that can't travel.
      TypeError: the name is not text.
    """
    _check_name(name)
    limits = limits or Limits()
    client: Client[Any, Any] = Client(
        UrlConnector(url, codec=codec, limits=limits, kinds=transports, tls=tls, headers=headers),
        sends=sends,
        receives=receives,
        name=name,
        codec=codec,
        limits=limits,
        wait_before=back_off,
        inbox=inbox,
        client=secrets.token_urlsafe(16),
        key=key,
    )
    return open_client(client)


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name is text, not {name!r:.100}")
    size = size_of(JSON.encode(name)) - 2  # without its quotes; a UnicodeEncodeError is a ValueError
    if size > MAX_NAME_BYTES:
        raise ValueError(f"a name of {size} bytes, as JSON: it may have {MAX_NAME_BYTES}")
