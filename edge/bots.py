"""Players who are code, in the room's own process: ordinary clients, over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from .client.client import Client, State
from .client.dialler import Dialler
from .client.join import open_client
from .protocol.codec import JSON
from .protocol.limits import Limits
from .rooms.guard import guarded
from .rooms.room import Room
from .rooms.session import Session
from .server.attend import attend
from .sessions.keys import Keys
from .transports.exchange import close_transport
from .transports.memory import open_memory_transports
from .transports.transport import Transport

# How often a bot looks again for its room, after a connection that was lost.
RETRY_SECONDS = 1.0


@asynccontextmanager
async def open_bot(
    room: Room[Any, Any], *, name: str, claims: Mapping[str, Any] | None = None, limits: Limits | None = None
) -> AsyncIterator[Client[Any, Any]]:
    """``async with edge.open_bot(room, name="Robby") as bot:``: a player of this room whose client is this very block.

    It joins, sends and receives as any other: through admission, the protocol and its limits. Best opened in a task of
    the room's own `run`, whose end it then does not outlive.

    Args:
      claims: what `Session.claims` says of it, besides ``{"bot": True}``.

    Raises:
      Disconnected: it was refused; `code` says why.

    *Cancellation* leaves the room.
    """

    async def wait_before(attempt: int) -> None:
        await trio.sleep(RETRY_SECONDS)

    limits = limits or Limits()
    number = room.random.getrandbits(128)  # not a secret: nobody else reaches a seat without connections from outside
    session = Session(f"bot:{number:032x}", name, {**(claims or {}), "bot": True})
    client: Client[Any, Any] = Client(
        _RoomDialler(room, session, limits),
        speaks=room.from_player,
        hears=room.to_player,
        name=name,
        codec=JSON,
        limits=limits,
        wait_before=wait_before,
        inbox=limits.outbox_frames,
        client=f"{number:032x}",
        key=None,
    )
    async with open_client(client):
        await client.wait_state(State.OPEN)
        yield client


@attrs.frozen
class _RoomDialler(Dialler):
    """Reaches one room, without a server."""

    room: Room[Any, Any]
    session: Session
    limits: Limits

    @property
    def patience(self) -> float:
        return self.limits.hello_seconds

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Transport]:
        ours, theirs = open_memory_transports()
        serve = partial(
            attend,
            theirs,
            JSON,
            lambda: self.room,
            tally=self.room.tally,
            limits=self.limits,
            keys=Keys(self.session.id),  # none is honoured: the session is given
            session=self.session,
        )

        async def serve_to_the_end() -> None:
            with trio.CancelScope(shield=True):  # until our end is closed: so a bot that is cancelled has left
                await guarded(f"bot {self.session.name!r}", serve)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_to_the_end)
            try:
                yield ours
            finally:
                await close_transport(ours, 1000, "")
