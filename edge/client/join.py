"""`join`: a client of a room that stays connected in the background."""

from __future__ import annotations

import random
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, overload

import trio

from ..protocol.codec import JSON, Codec, size_of
from ..protocol.events import Vocabulary
from ..protocol.field_kinds import Rename
from ..protocol.limits import Limits
from ..protocol.messages import MAX_NAME_BYTES, Create
from ..rooms.documents import mirrored_documents
from ..rooms.room import Room, kind_of
from .client import Client
from .fallback import TransportKind
from .url import UrlConnector

Sent = TypeVar("Sent")
Heard = TypeVar("Heard")

# Full jitter: wait number n, from 0, is a random time up to min(LONGEST_WAIT, SHORTEST_WAIT * 2**n) seconds. Clients
# that lose their connections together then do not reconnect together.
SHORTEST_WAIT = 0.5
LONGEST_WAIT = 30.0


async def back_off(attempt: int) -> None:
    """Wait a random time before the next connection. `attempt` is the number of earlier waits in a row."""
    longest = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(attempt, 16))
    await trio.sleep(random.uniform(0, longest))  # noqa: S311  # jitter, not a secret


@asynccontextmanager
async def open_client(client: Client[Sent, Heard]) -> AsyncIterator[Client[Sent, Heard]]:
    """Run a client in the background while the block runs. The client leaves when the block ends."""
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        except Exception as exc:
            fault = exc  # raised below, outside of the nursery, which would wrap it in a group
        finally:
            client.leave()
    if fault is not None:
        raise fault


@overload
def join(
    room: type[Room[Sent, Heard]],
    url: str,
    /,
    *,
    name: str = "",
    key: str | Callable[[], Awaitable[str]] | None = None,
    options: object = None,
    create: Create = "if needed",
    codec: Codec = JSON,
    limits: Limits | None = None,
    inbox: int = 1024,
    transports: tuple[TransportKind, ...] = tuple(TransportKind),
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[Client[Sent, Heard]]: ...
@overload
def join(
    url: str,
    /,
    *,
    sends: type[Sent] | Any,
    receives: type[Heard] | Any,
    documents: Mapping[str, type[Any]] | None = None,
    rename: Rename = "",
    name: str = "",
    key: str | Callable[[], Awaitable[str]] | None = None,
    options: object = None,
    create: Create = "if needed",
    codec: Codec = JSON,
    limits: Limits | None = None,
    inbox: int = 1024,
    transports: tuple[TransportKind, ...] = tuple(TransportKind),
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[Client[Any, Any]]: ...
def join(
    room: type[Room[Any, Any]] | str,
    url: str = "",
    /,
    *,
    sends: Any = None,
    receives: Any = None,
    documents: Mapping[str, type[Any]] | None = None,
    rename: Rename = "",
    name: str = "",
    key: str | Callable[[], Awaitable[str]] | None = None,
    options: object = None,
    create: Create = "if needed",
    codec: Codec = JSON,
    limits: Limits | None = None,
    inbox: int = 1024,
    transports: tuple[TransportKind, ...] = tuple(TransportKind),
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[Client[Any, Any]]:
    """Join a room as a client while a block runs.

    ``async with edge.join(Poker, "ws://localhost:8000/rooms/poker/one", name="ana") as client:``

    If the program does not have the room class, give the events and documents instead of it:
    ``edge.join(url, sends=..., receives=..., documents={"table": Table})``.

    The client connects in the background, and reconnects with full-jitter backoff whenever the connection is lost. It
    leaves the room when the block ends. `Client.state` is its current state.

    Args:
      room: the class of the room. The client sends its events, receives its events, and mirrors its documents.
      url: ``ws://`` or ``wss://`` (``http`` and ``https`` mean the same), host, and ``/rooms/<kind>/<name>``. A query
        is sent to the server; a user and password before the host are sent as ``Authorization: Basic``. Each connection
        follows at most one redirect, and only to the same host.
      sends: the union of events that players send.
      receives: the union of events that players receive.
      documents: the classes of the shared documents, by the names of the room's attributes. The client ignores others.
      rename: the `Room.rename` of the room.
      name: the name that the client requests for its player, at most 512 bytes as JSON.
      options: the join options, an instance of `Room.join_options`, of at most 1 KiB as JSON; by default, the defaults
        of the class.
      create: ``"if needed"`` opens the room if it is not open. ``"never"`` joins only an open room; otherwise the
        client closes with `Code.NO_ROOM`. ``"only"`` joins only a room that this client opens; otherwise the client
        closes with `Code.ROOM_EXISTS`. A session that holds a seat may always join.
      key: the session key (see `Keys`), or an async function that returns one. The function is called for each
        connection, and again later if it fails or takes more than 20 seconds. Without a key, the session belongs to
        this client alone.
      codec: the encoding of messages: `JSON` or `MESSAGEPACK`.
      limits: the limits of this client; by default, the default `Limits`.
      inbox: the client stops reading while this many events wait to be received.
      transports: the transports to try, best first.
      tls: the TLS context for ``wss://``; the default verifies the server's certificate.
      headers: further headers of each request, for a gateway in front of the server.

    Raises:
      ValueError: `url`, `name` or a header is invalid, or `transports` is empty.
      TypeError: `name` is not a string, or both a room class and its events are given.

    *Cancellation*: the client leaves the room, as at the end of the block.
    """
    _check_name(name)
    limits = limits or Limits()
    if isinstance(room, str):
        url, sends, receives = room, Vocabulary.of(sends, rename), Vocabulary.of(receives, rename)
        mirrored = mirrored_documents(documents or {}, rename)
    else:
        if sends is not None or receives is not None or documents is not None or rename:
            raise TypeError(f"{room.__name__} has its events and documents: give no others")
        sends, receives, mirrored = kind_of(room).receives, kind_of(room).sends, kind_of(room).mirrored
    client: Client[Any, Any] = Client(
        UrlConnector(url, codec=codec, limits=limits, kinds=transports, tls=tls, headers=headers),
        sends=sends,
        receives=receives,
        documents=mirrored,
        name=name,
        codec=codec,
        limits=limits,
        wait_before=back_off,
        inbox=inbox,
        client=secrets.token_urlsafe(16),
        key=key,
        options=options,
        create=create,
    )
    return open_client(client)


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a str, not {name!r:.100}")
    size = size_of(JSON.encode(name)) - 2  # without the quotes; a UnicodeEncodeError is a ValueError
    if size > MAX_NAME_BYTES:
        raise ValueError(f"`name` has {size} bytes as JSON, and must not be longer than {MAX_NAME_BYTES}")
