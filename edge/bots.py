"""Bots: players that are code in the room's own process. A bot is an ordinary client with a memory transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from .aio.guard import guarded
from .client.client import Client, Status
from .client.connector import Connector
from .client.join import open_client
from .codes import Code
from .connections.driver import close_transport
from .errors import Refused
from .protocol.codec import JSON
from .protocol.limits import Limits
from .protocol.messages import Hello
from .rooms.player import FromPlayer, ToPlayer
from .rooms.room import Room, kind_of, runtime_of
from .rooms.room_runtime import RoomRuntime
from .rooms.session import Session
from .seats.serve_seat import serve_seat
from .sessions.keys import Keys
from .transports.memory import open_memory_transports
from .transports.transport import Transport

# The seconds that a bot waits before it connects to its room again, after its connection was lost.
RETRY_SECONDS = 1.0
# The seconds that the room has to notice the end of a bot's connection, before edge cancels the room's side.
NOTICE_SECONDS = 0.1


@asynccontextmanager
async def open_bot(
    room: Room[FromPlayer, ToPlayer], *, name: str, options: object = None, limits: Limits | None = None
) -> AsyncIterator[Client[FromPlayer, ToPlayer]]:
    """Join a room as a bot while a block runs: ``async with open_bot(room, name="Robby") as bot:``.

    The bot joins, sends and receives like any other client: `Room.admit`, the protocol and its limits apply. Open it in
    a task of the room's own `run`, so that the bot ends with the room. `Session.bot` is true for a bot. A bot does not
    keep the room open.

    Args:
      name: the player's name.
      options: the join options, an instance of `Room.join_options`; by default, the defaults of the class.
      limits: the limits of the bot's connection.

    Raises:
      Disconnected: the room refused the bot. The error's `code` is the reason.

    *Cancellation* makes the bot leave the room.

    *Backpressure*: receive the bot's events in time. Otherwise the room disconnects the bot, like any client that does
    not read.
    """

    async def wait_before(attempt: int) -> None:
        await trio.sleep(RETRY_SECONDS)

    limits = limits or Limits()
    number = room.random.getrandbits(128)  # not a secret: no other client can connect to the seat of a bot
    session = Session(f"bot:{number:032x}", name, bot=True)
    client: Client[FromPlayer, ToPlayer] = Client(
        _RoomConnector(runtime_of(room), session, limits),
        sends=kind_of(room).receives,
        receives=kind_of(room).sends,
        documents=kind_of(room).mirrored,
        name=name,
        codec=JSON,
        limits=limits,
        wait_before=wait_before,
        inbox=limits.outbox_frames,
        client=f"{number:032x}",
        key=None,
        options=options,
    )
    async with open_client(client):
        await client.wait_status(Status.OPEN)
        yield client


@attrs.frozen
class _RoomConnector(Connector):
    """Connects to one room over memory, without a server."""

    room: RoomRuntime
    session: Session
    limits: Limits

    @property
    def welcome_seconds(self) -> float:
        return self.limits.hello_seconds

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Transport]:
        ours, theirs = open_memory_transports(buffer=self.limits.inbox)
        serve = partial(
            serve_seat,
            theirs,
            JSON,
            self._find_room,
            where=self.room.path,
            counters=self.room.counters,
            limits=self.limits,
            keys=Keys(self.session.id),  # not used: the hello has no key, and the session is given
            session=self.session,
        )

        # Shielded: the room must still receive the goodbye of a bot that is cancelled.
        serving = trio.CancelScope(shield=True)

        async def serve_to_the_end() -> None:
            with serving:
                await guarded(f"bot {self.session.name!r}", serve)

        fault: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_to_the_end)
            try:
                yield ours
            except Exception as exc:
                fault = exc  # raised below, outside of the nursery, which would wrap it in a group
            finally:
                serving.deadline = trio.current_time() + NOTICE_SECONDS
                await close_transport(ours, 1000, "")
        if fault is not None:
            raise fault

    async def _find_room(self, hello: Hello) -> RoomRuntime:
        if self.room.closing:
            raise Refused("the room has closed", Code.ROOM_CLOSED)
        return self.room
