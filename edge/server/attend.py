"""One connection from its hello to its end: who it is, which seat it holds, and what happens to the seat afterwards."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import attrs
import trio

from ..codes import Code, Retry
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
        self.player.refuse(fault)


async def attend(
    transport: Transport,
    codec: Codec,
    directory: Directory,
    kind: str,
    name: str,
    *,
    limits: Limits,
    opening: trio.CancelScope | None = None,
) -> None:
    """Serve one connection to one room, and close it.

    Args:
      opening: cancel it to turn the connection away if it has not said hello yet.

    *Cancellation* says goodbye with `Code.DRAINING`; the seat goes with its room.
    """
    connection = Connection(Side.SERVER, codec, now=trio.current_time(), limits=limits)
    ended = Ended(Code.DRAINING, "the server is shutting down", by_peer=False)
    try:
        hello = await _read_hello(transport, connection, opening or trio.CancelScope())
        outbox = Outbox(codec, limits)
        seat = _take_seat(hello, connection, outbox, directory.open(kind, name))
        try:
            await seat.player.wait_started()
            ended = await exchange(transport, connection, outbox, _SeatReceiver(seat.player))
        finally:
            seat.detach(outbox, _believed(ended), ended.reason)
    except (RemoteProtocolError, Refused) as exc:
        ended = Ended(exc.code, str(exc), by_peer=False)
        await _say_bye(transport, connection, ended)
    except (trio.BrokenResourceError, trio.EndOfChannel):
        ended = Ended(Code.LOST, "gone before its hello", by_peer=True)
    finally:
        await close_transport(transport, ended.code, ended.reason)


def _believed(ended: Ended) -> Code:
    """What an end means for the seat: a client may come back, or leave, but not kick itself or crash the room."""
    if not ended.by_peer or ended.code in (Code.LOST, Code.TOO_LARGE):
        return ended.code
    return Code.LOST if ended.code.retry is Retry.RESUME else Code.LEFT


async def _read_hello(transport: Transport, connection: Connection, opening: trio.CancelScope) -> Hello:
    hello: Message | None = None
    with opening, trio.move_on_after(connection.limits.hello_seconds):
        hello = connection.receive(await transport.receive(), now=trio.current_time())
        if isinstance(hello, Bye):
            raise trio.EndOfChannel
    if opening.cancelled_caught:
        raise Refused("the server is shutting down", Code.DRAINING)
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
    if held is None:
        why = "new" if hello.received is None else "expired"
        key = secrets.token_urlsafe(KEY_BYTES)
        seat = HeldSeat(room, key, hello.name, connection.codec, connection.limits)
    elif isinstance(held.seat, HeldSeat) and hello.received is not None and held.seat.counts.can_resume(hello.received):
        why = ""
        seat = held.seat
        seat.counts.acknowledge(hello.received)
    else:
        why = "replaced" if hello.received is None else "miscount"
        key = str(held.seat.who)
        seat = HeldSeat(room, key, held.name, connection.codec, connection.limits, instead_of=held)
    connection.counts = seat.counts
    welcome = Welcome(
        resumed=not why,
        why=why,
        received=seat.counts.received,
        key=str(seat.who),
        number=seat.player.number,
        heartbeat=connection.limits.heartbeat,
        dead_after=connection.limits.dead_after,
        ack_frames=connection.limits.most_unacked[0],
        ack_bytes=connection.limits.most_unacked[1],
    )
    outbox.put_first(connection.send(welcome, now=trio.current_time()))
    seat.attach(outbox)
    return seat


async def _say_bye(transport: Transport, connection: Connection, ended: Ended) -> None:
    """Tell a connection that got no seat why."""
    bye = connection.send(Bye(ended.code, ended.reason), now=trio.current_time())
    with trio.move_on_after(connection.limits.write_seconds), contextlib.suppress(trio.BrokenResourceError):
        await transport.send([bye])
