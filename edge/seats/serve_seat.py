"""Serve one connection of a room: read its hello, find its session, give it a seat, and pass messages until it ends."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import trio

from ..codes import Code, Retry
from ..connections.driver import Ended, close_transport, drive_connection
from ..connections.outbox import Outbox
from ..connections.scheduler import WriteScheduler
from ..errors import Refused, RemoteProtocolError
from ..protocol.codec import VERSION, Codec, Frame
from ..protocol.connection import Connection, Side
from ..protocol.fingerprint import fingerprint
from ..protocol.limits import Limits
from ..protocol.messages import Bye, Hello, Message, Welcome
from ..protocol.pace import Pace
from ..rooms.counters import Counters
from ..rooms.kind import RoomKind
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.transport import Transport
from .held_seat import FRESH_CODES, HeldSeat
from .pending import PendingConnection
from .persistent_seat import PersistentSeat

log: logging.Logger = logging.getLogger("edge.server")

FAULT = "an error in the server"

# The name that a client chooses. It must not be guessable, because it alone identifies a client without a key.
CLIENT = re.compile(r"[A-Za-z0-9_-]{16,64}")


class RemoteRoom(Protocol):
    """A room that is on another server."""

    async def relay(self, transport: Transport, codec: Codec, hello: Frame, bulk: Pace | None) -> None:
        """Relay a connection, which began with this frame, to the room, and close the connection. See `serve_seat`."""


async def serve_seat(
    transport: Transport,
    codec: Codec,
    find_room: Callable[[], Awaitable[RoomRuntime | RemoteRoom]],
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
    """Serve one connection to one room, and close it.

    Args:
      find_room: finds the room, or raises `Refused`. Called once the session is known.
      where: the kind and name of the room, for the log.
      counters: counts and logs refusals.
      guests: True to admit guests, with a guest's key or without a key.
      session: the session of the connection, unless the hello has a key.
      scheduler: writes for the connection; by default, a scheduler of its own.
      bulk: the pace, in bytes, of large messages, shared with the other connections of the client's address.
      waiting: returns a context manager that registers the pending connection during the wait for the hello.

    *Cancellation* sends a goodbye with the code `Outbox.cancel_code`. The seat ends with its room.
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
        room = await find_room()
        if not isinstance(room, RoomRuntime):
            await room.relay(transport, codec, frame, bulk)
            closed = True
            return
        session = session or _keyless(hello)
        await _wait_recorded(hello, session, room)
        seat = _take_seat(hello, session, connection, outbox, room)
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
    """Serve a connection that has its seat. Returns: how the connection ended; the transport is closed."""
    ended = Ended(outbox.cancel_code, "the server is shutting down", by_peer=False)
    try:
        await seat.player.wait_started()
        if (
            isinstance(seat, PersistentSeat)
            and room.journal is not None
            and not (seat.known or room.lease.continues_without_broker)
        ):
            # otherwise an event that the client sends right after its welcome could be lost
            await room.journal.wait_written()
        seat.player.deliver_restored()
        ended = await drive_connection(transport, connection, outbox, seat.player, scheduler, bulk)
    except Exception:
        ended = Ended(Code.INTERNAL_ERROR, FAULT, by_peer=False)
        raise
    finally:
        seat.lose(outbox, _meaning_for_seat(ended), ended.reason)
        room.counters.held_back += connection.held_back
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
    """Make the session of a client without a key. Its id does not reveal the client's secret name."""
    digest = hashlib.sha256(hello.client.encode()).digest()
    return Session("~" + base64.urlsafe_b64encode(digest)[:22].decode(), guest=True)


def _meaning_for_seat(ended: Ended) -> Code:
    """Return the code with which a connection's end affects the seat. A client can only leave or reconnect."""
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


async def _wait_recorded(hello: Hello, session: Session, room: RoomRuntime) -> None:
    """In a persistent room, wait until the journal has all messages of this client, whose count the welcome has."""
    while room.journal is not None and not room.lease.over:
        held = room.find(session.id)
        if held is None or not isinstance(seat := held.seat, PersistentSeat) or seat.client != hello.client:
            return
        if seat.all_written:
            return
        # end the old connection, so that no more messages arrive. The code allows a resume, because the seat must stay
        # if this connection ends during the wait
        seat.disconnect(Code.MOVED, "another connection takes the seat")
        await room.journal.wait_written()


def _take_seat(hello: Hello, session: Session, connection: Connection, outbox: Outbox, room: RoomRuntime) -> HeldSeat:
    """Give a client its seat, and put the welcome into the outbox, in one synchronous step.

    So nothing happens between the admission and the seat, and no frame of an older connection is counted after the
    count was written into the welcome.

    Raises:
      Refused: the client gets no seat.
    """
    held = room.find(session.id)
    if held is None:
        if room.journal is None or session.bot:  # the room starts its bots again on another server
            seat = HeldSeat(session, hello.name, connection.limits)
        else:
            seat = PersistentSeat(room.journal, session, hello.name, connection.limits)
        why, unknowing = _claim_seat(seat, hello, new=True, lost=room.lost)
        seat.enter(room)
    elif isinstance(held.seat, HeldSeat):
        seat = held.seat
        why, unknowing = _claim_seat(seat, hello, new=False, lost=room.lost)
    else:
        raise Refused("this seat belongs to a bot", Code.REFUSED)
    try:
        _begin(seat, hello, why, connection, outbox, room)
        if unknowing:
            room.restart(seat.player)
    except Exception:  # otherwise other code would find a seat that no connection serves
        if held is None:
            seat.player.leave(Code.INTERNAL_ERROR, FAULT)
        else:
            seat.lose(outbox, Code.INTERNAL_ERROR, FAULT)
        raise
    return seat


def _begin(seat: HeldSeat, hello: Hello, why: str, connection: Connection, outbox: Outbox, room: RoomRuntime) -> None:
    """Attach a seat to this connection, and queue its welcome."""
    now = trio.current_time()
    connection.counts, connection.epoch = seat.counts, now - room.now()
    if seat.connection is not None:
        connection.follow(seat.connection, now)
    seat.connection = connection
    welcome = Welcome(
        resumed=not why,
        why=why,
        received=seat.counts.received,
        number=seat.player.number,
        guest=seat.session.guest,
        heartbeat=connection.limits.heartbeat,
        dead_after=connection.limits.dead_after,
        ack_frames=connection.limits.most_unacked[0],
        ack_bytes=connection.limits.most_unacked[1],
        now=room.now(),
        message_bytes=connection.limits.message_bytes,
        sent_bytes=connection.limits.sent_bytes,
        vocabulary=_fingerprint_of(room.kind),
    )
    outbox.put_first(connection.send(welcome, now=now))
    seat.attach(outbox)
    if hello.vocabulary not in ("", _fingerprint_of(room.kind)):
        _note_outdated(room, seat)


def _find_fingerprint(kind: RoomKind) -> str:
    return fingerprint(kind.receives, kind.sends)


_fingerprint_of: Callable[[RoomKind], str] = functools.cache(_find_fingerprint)


def _note_outdated(room: RoomRuntime, seat: HeldSeat) -> None:
    """Count a client whose events differ from its room's, and log the first of each kind of room."""
    counters = room.counters
    counters.outdated += 1
    if counters.is_first("outdated", room.kind):
        text = "the client of %r and %s have different events: one of them is outdated"
        log.info(text, seat.name, room.kind.class_name, extra=seat.player.log_context)


def _claim_seat(seat: HeldSeat, hello: Hello, *, new: bool, lost: bool) -> tuple[str, bool]:
    """Give a client the seat, if it may have it.

    Returns: the reason of a fresh start, empty for a resume; and whether the room has to greet the client.

    Raises:
      Refused: another client took the seat from this one, or this hello is a copy of an earlier one.
    """
    if hello.client in seat.former:
        raise Refused("another page of yours took the seat", Code.REPLACED)
    same, received = hello.client == seat.client, hello.received or 0
    if same and hello.attempt <= seat.attempt:
        raise Refused("this hello was already received: send a higher attempt number", Code.REPLAYED)
    seat.attempt = hello.attempt
    began_together = same and hello.since == seat.since
    if began_together and seat.can_resume(received):
        seat.counts.acknowledge(received)
        return "", False
    if same and not began_together and seat.counts.received == 0 and seat.can_resume(0):
        seat.since = hello.attempt  # the welcome was lost: it is sent again, and all messages after it
        return seat.why, False
    if new:
        why = "new" if hello.received is None else "lost" if lost else "expired"
    elif same:
        why = "behind" if seat.counts.behind or seat.latest.dropped else "miscount"
    else:
        why = "moved"
    seat.give_to(hello.client, why)
    return why, True


async def _say_bye(transport: Transport, connection: Connection, bye: Bye) -> None:
    """Send the goodbye of a connection that got no seat."""
    frame = connection.send(bye, now=trio.current_time())
    with trio.move_on_after(connection.limits.write_seconds), contextlib.suppress(trio.BrokenResourceError):
        await transport.send([frame])
