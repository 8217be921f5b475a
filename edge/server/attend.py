"""One connection from its hello to its end: who it is, which seat it holds, and what happens to the seat afterwards."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import attrs
import trio

from ..codes import Code
from ..errors import InvalidEvent, Refused, RemoteProtocolError
from ..protocol.codec import VERSION, Codec
from ..protocol.connection import Connection, Side
from ..protocol.limits import Limits
from ..protocol.messages import Bye, Hello, Message, Welcome
from ..rooms.directory import Directory
from ..rooms.player import Player
from ..rooms.room import Room
from ..sessions.outbox import Outbox
from ..sessions.seat import HeldSeat
from ..transports.exchange import Ended, Receiver, close_transport, exchange
from ..transports.transport import Transport

# A key is 256 random bits: not to be guessed.
KEY_BYTES = 32


@attrs.define(eq=False)
class _SeatReceiver(Receiver):
    """Gives a connection's messages to its player."""

    player: Player[Any, Any]

    @property
    def has_space(self) -> bool:
        return self.player.has_space

    async def wait_space(self) -> None:
        await self.player.wait_space()

    def deliver(self, message: Message) -> None:
        self.player.deliver(message)

    def refuse(self, fault: InvalidEvent) -> None:
        self.player.refuse(fault.problem, str(fault), fault.about, fault.request)


async def attend(
    transport: Transport, codec: Codec, directory: Directory, kind: str, name: str, *, limits: Limits
) -> None:
    """Serve one connection to one room, and close it.

    *Cancellation* says goodbye with `Code.DRAINING`; the seat goes with its room.
    """
    connection = Connection(Side.SERVER, codec, now=trio.current_time(), limits=limits)
    ended = Ended(Code.DRAINING, "the server is shutting down", by_peer=False)
    try:
        hello = await _read_hello(transport, connection)
        outbox = Outbox(codec, limits)
        seat = _take_seat(hello, connection, outbox, directory.open(kind, name))
        try:
            await seat.player.wait_started()
            ended = await exchange(transport, connection, outbox, _SeatReceiver(seat.player))
        finally:
            seat.detach(outbox, ended.code, ended.reason)
    except (RemoteProtocolError, Refused) as exc:
        ended = Ended(exc.code, str(exc), by_peer=False)
        await _say_bye(transport, connection, ended)
    except (trio.BrokenResourceError, trio.EndOfChannel):
        ended = Ended(Code.LOST, "gone before its hello", by_peer=True)
    finally:
        await close_transport(transport, ended.code, ended.reason)


async def _read_hello(transport: Transport, connection: Connection) -> Hello:
    hello: Message | None = None
    with trio.move_on_after(connection.limits.hello_seconds):
        hello = connection.receive(await transport.receive(), now=trio.current_time())
        if isinstance(hello, Bye):
            raise trio.EndOfChannel
    if not isinstance(hello, Hello):
        raise RemoteProtocolError(f"no hello within {connection.limits.hello_seconds:g} s", Code.LATE)
    if hello.version != VERSION:
        raise RemoteProtocolError(f"version {hello.version} is not spoken here, {VERSION} is", Code.VERSION)
    return hello


def _take_seat(hello: Hello, connection: Connection, outbox: Outbox, room: Room[Any, Any]) -> HeldSeat:
    """Give this client its seat, and put its welcome first into the outbox: one synchronous step, so that nobody can
    get between a decision and the seat, and no frame of an older connection is counted after the welcome said how many.

    Raises:
      Refused: it gets none.
    """
    held = room.seats.find(hello.key) if hello.key is not None else None
    seat: HeldSeat | None = None
    why = "new" if hello.received is None else "expired"
    if held is not None and isinstance(held.seat, HeldSeat):
        if hello.received is not None and held.seat.counts.can_resume(hello.received):
            seat = held.seat
            seat.counts.acknowledge(hello.received)
        else:
            why = "replaced" if hello.received is None else "miscount"
            held.leave(Code.REPLACED if hello.received is None else Code.MISCOUNT, "started afresh")
    resumed = seat is not None
    if seat is None:
        key = str(held.seat.who) if held is not None else secrets.token_urlsafe(KEY_BYTES)
        seat = HeldSeat(room, key, hello.name, connection.codec, connection.limits)
    connection.counts = seat.counts
    welcome = Welcome(
        resumed=resumed,
        why="" if resumed else why,
        received=seat.counts.received,
        key=str(seat.who),
        number=seat.player.number,
        heartbeat=connection.limits.heartbeat,
        dead_after=connection.limits.dead_after,
    )
    outbox.greet(connection.send(welcome, now=trio.current_time()))
    seat.attach(outbox)
    return seat


async def _say_bye(transport: Transport, connection: Connection, ended: Ended) -> None:
    """Tell a connection that got no seat why."""
    bye = connection.send(Bye(ended.code, ended.reason), now=trio.current_time())
    with trio.move_on_after(connection.limits.write_seconds), contextlib.suppress(trio.BrokenResourceError):
        await transport.send([bye])
