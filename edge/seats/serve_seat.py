"""Serve one connection to a room: read the hello, find the session, attach a seat, and pass messages to the player."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import trio

from ..codes import Code, Retry
from ..connections.driver import Ended, close_transport, drive_connection
from ..connections.outbox import Outbox
from ..connections.scheduler import WriteScheduler
from ..errors import Refused, RemoteProtocolError
from ..protocol.codec import VERSION, Codec, Frame
from ..protocol.connection import Connection, Side
from ..protocol.limits import Limits
from ..protocol.messages import UNFIT_PATCH, Bye, Hello, Message, Ping
from ..protocol.pace import Pace
from ..rooms.counters import Counters
from ..rooms.opening import read_options
from ..rooms.room_runtime import RoomRuntime
from ..rooms.seat import Applicant
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.transport import Transport
from .claim import FAULT, take_seat
from .held_seat import FRESH_CODES, HeldSeat
from .pending import PendingConnection
from .persistent_seat import PersistentSeat

log: logging.Logger = logging.getLogger("edge.server")

# The valid values of `client` in a hello. The client chooses this name at random. The name must not be guessable,
# because the name alone identifies a client without a key.
CLIENT = re.compile(r"[A-Za-z0-9_-]{16,64}")


# Seconds between two pings of a client that waits for its welcome: less than the shortest time after which a client
# gives up.
PING_SECONDS = 2.0


class RemoteRoom(Protocol):
    """A room that runs on another server."""

    async def relay(self, transport: Transport, codec: Codec, hello: Frame, bulk: Pace | None) -> None:
        """Relay a connection to the room until it ends, and close the connection.

        Args:
          hello: the first frame of the connection, which has already been read.
          bulk: see `serve_seat`.
        """


async def serve_seat(
    transport: Transport,
    codec: Codec,
    find_room: Callable[[Hello], Awaitable[RoomRuntime | RemoteRoom]],
    *,
    where: str,
    counters: Counters,
    limits: Limits,
    keys: Keys,
    guests: bool = True,
    session: Session | None = None,
    scheduler: WriteScheduler | None = None,
    bulk: Pace | None = None,
    waiting: Callable[[], AbstractContextManager[PendingConnection]] = lambda: nullcontext(PendingConnection()),
) -> None:
    """Serve one connection to one room until the connection ends, and close the transport.

    Args:
      find_room: finds the room, or opens it, for the client with this hello; or raises `Refused`. The room may not be
        set up yet. Called after the hello is read and its key is checked.
      where: the kind and name of the room, for the log.
      counters: counts and logs refusals.
      guests: True to admit guests, with a guest's key or without a key.
      session: the session of the connection, which is used if the hello has no key.
      scheduler: the scheduler that writes for the connection; by default, the connection gets its own scheduler.
      bulk: the pace, in bytes, that all connections of the client's address share: see `Bulk`.
      waiting: returns a context manager that registers the pending connection, while it waits for its hello or for its
        admission.

    *Cancellation* closes the connection with the code `Outbox.cancel_code`. The player leaves, but in a persistent room
    the seat waits for its client to reconnect.
    """
    connection = Connection(Side.SERVER, codec, now=trio.current_time(), limits=limits)
    ended, name = Ended(Code.DRAINING, "the server is shutting down", by_peer=False), ""
    closed = False
    try:
        transport.max_bytes = limits.opening_bytes
        with waiting() as wait:
            hello, frame = await _read_hello(transport, connection, wait)
        transport.max_bytes, name = limits.socket_bytes, hello.name
        outbox = Outbox(codec, limits)
        if hello.key is not None:
            session = keys.check(hello.key, guests=guests)
        elif session is None and not guests:
            raise Refused("a key is needed", Code.KEY_INVALID)
        room = await find_room(hello)
        if not isinstance(room, RoomRuntime):
            await room.relay(transport, codec, frame, bulk)
            closed = True
            return
        session = session or _keyless(hello)
        options = await _wait_admission(hello, session, room, transport, connection, waiting)
        seat = take_seat(hello, session, connection, outbox, room, options)
        del find_room, waiting, wait, hello, frame, options  # not needed for the hours that a connection may last
        ended = Ended(outbox.cancel_code, ended.reason, by_peer=False)
        ended = await _serve_attached(seat, room, transport, connection, outbox, scheduler, bulk)
        closed = True
    except (RemoteProtocolError, Refused) as exc:
        counters.refused[exc.code] += 1
        if exc.code is not Code.MOVED:
            _log_refusal(counters, where, exc, name, session)
        ended = Ended(exc.code, str(exc), by_peer=False)
        bye = Bye(exc.code, str(exc), exc.where if isinstance(exc, Refused) else "")
        await _say_bye(transport, connection, bye)
    except (trio.BrokenResourceError, trio.EndOfChannel):
        ended = Ended(Code.LOST, "the client disconnected before its hello", by_peer=True)
    except Exception:
        ended = Ended(Code.INTERNAL_ERROR, FAULT, by_peer=False)
        raise
    finally:
        if not closed:
            await close_transport(transport, ended.code, ended.reason)


async def _serve_attached(
    seat: HeldSeat,
    room: RoomRuntime,
    transport: Transport,
    connection: Connection,
    outbox: Outbox,
    scheduler: WriteScheduler | None,
    bulk: Pace | None,
) -> Ended:
    """Serve a connection that has a seat, and close its transport. Return the code and the reason of the end."""
    ended = Ended(outbox.cancel_code, "the server is shutting down", by_peer=False)
    try:
        await seat.player.wait_started()
        if (
            isinstance(seat, PersistentSeat)
            and room.journal is not None
            and not (room.lease.continues_without_broker or (seat.known and not room.kind.persists_documents))
        ):
            # without this wait, an event that the client sends directly after its welcome could be lost, and the
            # client could get documents that no other server can restore
            await room.journal.wait_written()
        seat.player.deliver_restored()
        ended = await drive_connection(transport, connection, outbox, seat.player, scheduler, bulk)
    except Exception:
        ended = Ended(Code.INTERNAL_ERROR, FAULT, by_peer=False)
        raise
    finally:
        seat.lose(outbox, _meaning_for_seat(ended), ended.reason)
        room.counters.throttled += connection.throttled
        room.counters.patches_unfit += ended.by_peer and ended.reason.startswith(UNFIT_PATCH)
    return ended


def _log_refusal(
    counters: Counters, where: str, why: RemoteProtocolError | Refused, name: str, session: Session | None
) -> None:
    log_context = {"room": where} if session is None else {"room": where, "session": session.id}
    text = "a seat in %r is refused to %s: %s: %s"
    who = repr((session.name if session is not None else "") or name[:64]) if session or name else "a client"
    counters.refusals.note(
        (where, who, why.code), text, where, who, why.code.name.lower(), str(why), log_context=log_context
    )


def _keyless(hello: Hello) -> Session:
    """Make the session of a client without a key. The id is a hash, so that it does not reveal the client's name."""
    digest = hashlib.sha256(hello.client.encode()).digest()
    return Session("~" + base64.urlsafe_b64encode(digest)[:22].decode(), guest=True)


def _meaning_for_seat(ended: Ended) -> Code:
    """Return the code for `HeldSeat.lose`. Most codes sent by a client are reduced to `Code.LOST` or `Code.LEFT`."""
    if not ended.by_peer or ended.code in (Code.LOST, Code.TOO_LARGE, *FRESH_CODES):
        return ended.code
    return Code.LOST if ended.code.retry is Retry.RESUME else Code.LEFT


async def _read_hello(transport: Transport, connection: Connection, wait: PendingConnection) -> tuple[Hello, Frame]:
    hello: Message | None = None
    wait.scope.deadline = trio.current_time() + connection.limits.hello_seconds
    with wait.scope:
        frame = await transport.receive()
        hello = connection.receive(frame, now=trio.current_time())
        if isinstance(hello, Bye):
            raise trio.EndOfChannel
    if wait.scope.cancelled_caught and wait.turned_away:
        raise wait.why
    if not isinstance(hello, Hello):
        raise RemoteProtocolError(f"no hello within {connection.limits.hello_seconds:g} s", Code.LATE)
    if hello.version != VERSION:
        raise RemoteProtocolError(f"protocol version {hello.version} is not supported, but {VERSION} is", Code.VERSION)
    if not CLIENT.fullmatch(hello.client):
        raise RemoteProtocolError("`client` in a hello must be 16 to 64 letters, digits, _ or -")
    return hello, frame


async def _wait_admission(
    hello: Hello,
    session: Session,
    room: RoomRuntime,
    transport: Transport,
    connection: Connection,
    waiting: Callable[[], AbstractContextManager[PendingConnection]],
) -> Any:
    """Wait until the room is set up, and has authorized the client. Take the seat afterwards, in the same step.

    Returns: the join options, an instance of their class; None if the room has none, or the client holds a seat.

    Raises:
      Refused: the client gets no seat.
      trio.BrokenResourceError: the client has disconnected.
    """
    options, authorized = None, False
    while True:
        await _wait_recorded(hello, session, room)
        if room.set_up.is_set() and (authorized or room.find(session.id) is not None):
            return options
        if room.set_up.is_set() and not room.kind.has_authorize:  # nearly every room: nothing to wait for
            options, authorized = await _authorize(hello, session, room)
            continue
        refused, gone = None, True
        with waiting() as wait, wait.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ping, transport, connection, nursery.cancel_scope)
                try:
                    options, authorized = await _authorize(hello, session, room)
                    gone = False
                except Refused as exc:
                    refused = exc
                nursery.cancel_scope.cancel("the room has decided")
        if wait.scope.cancelled_caught:
            raise wait.why
        if refused is not None:
            raise refused
        if gone:
            raise trio.BrokenResourceError("the client has disconnected")


async def _authorize(hello: Hello, session: Session, room: RoomRuntime) -> tuple[Any, bool]:
    """Wait until the room is set up, and authorize a client that holds no seat.

    Returns: the join options, and whether the client is authorized.

    Raises:
      Refused: the client gets no seat.
    """
    if not room.set_up.is_set():
        await room.wait_set_up()
    if room.find(session.id) is not None:
        return None, False
    if hello.create == "only" and room.opening.client != hello.client:
        raise Refused("a room of this name is open already", Code.ROOM_EXISTS)
    options = read_options(hello.options, room.kind.join_options, room.kind.rename)
    await room.authorize(Applicant(session.name or hello.name, session, options))
    return options, True


async def _ping(transport: Transport, connection: Connection, until: trio.CancelScope) -> None:
    """Ping a client while it waits for its welcome, so that it does not give up. If it is gone, cancel `until`."""
    try:
        while True:
            await trio.sleep(PING_SECONDS)
            frame = connection.send(Ping(0), now=trio.current_time())
            with trio.move_on_after(connection.limits.write_seconds, shield=True):  # half a frame breaks the stream
                await transport.send([frame])
    except trio.BrokenResourceError:
        until.cancel("the client has disconnected")


async def _wait_recorded(hello: Hello, session: Session, room: RoomRuntime) -> None:
    """In a persistent room, wait until the journal has all messages that were received from this client.

    The welcome reports the number of these messages, and the client then deletes them. So they may not be lost later.
    """
    while room.journal is not None and not room.lease.over:
        held = room.find(session.id)
        if held is None or not isinstance(seat := held.seat, PersistentSeat) or seat.client != hello.client:
            return
        if seat.all_written:
            return
        # The old connection is ended, so that no more messages arrive. Its code allows a resume, because the seat must
        # remain if the new connection ends during the wait.
        seat.disconnect(Code.MOVED, "another connection takes the seat")
        await room.journal.wait_written()


async def _say_bye(transport: Transport, connection: Connection, bye: Bye) -> None:
    """Send a goodbye on a connection that got no seat."""
    frame = connection.send(bye, now=trio.current_time())
    with trio.move_on_after(connection.limits.write_seconds), contextlib.suppress(trio.BrokenResourceError):
        await transport.send([frame])
