"""Give a client its seat, in synchronous code without I/O."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import trio

from ..codes import Code
from ..connections.outbox import Outbox
from ..errors import Refused
from ..protocol.connection import Connection
from ..protocol.fingerprint import fingerprint
from ..protocol.messages import Hello, Welcome
from ..rooms.kind import RoomKind
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from .held_seat import HeldSeat
from .persistent_seat import PersistentSeat

log: logging.Logger = logging.getLogger("edge.server")

FAULT = "an error in the server"


def take_seat(
    hello: Hello, session: Session, connection: Connection, outbox: Outbox, room: RoomRuntime, options: Any
) -> HeldSeat:
    """Give a client its seat, and put the welcome into the outbox.

    The function is synchronous, so that no other task runs between the admission and the seat. Also, no frame of an
    older connection can be counted after the welcome has reported the number of received messages.

    Args:
      options: the join options of a client that gets a new seat, an instance of their class.

    Raises:
      Refused: the client gets no seat.
    """
    held = room.find(session.id)
    if held is None:
        # the seat of a bot is not restored, because the room's code opens the bot again on another server
        if room.journal is None or session.bot:
            seat = HeldSeat(session, hello.name, connection.limits, options)
        else:
            seat = PersistentSeat(room.journal, session, hello.name, connection.limits, options)
        why, unknowing = _claim_seat(seat, hello, new=True, lost=room.lost)
        seat.enter(room)
    elif isinstance(held.seat, HeldSeat):
        seat = held.seat
        why, unknowing = _claim_seat(seat, hello, new=False, lost=room.lost)
    else:
        raise Refused("this seat belongs to a bot")
    try:
        _begin(seat, hello, why, connection, outbox, room)
        if unknowing:
            room.restart(seat.player)
        if room.sharing is not None:
            room.sharing.flush()  # the client gets the documents in the same write as its welcome
    except Exception:  # the claim is reversed, because otherwise other code would find a seat without a connection
        if held is None:
            seat.player.leave(Code.INTERNAL_ERROR, FAULT)
        else:
            seat.lose(outbox, Code.INTERNAL_ERROR, FAULT)
        raise
    return seat


def _begin(seat: HeldSeat, hello: Hello, why: str, connection: Connection, outbox: Outbox, room: RoomRuntime) -> None:
    """Attach a connection to a seat, and queue the welcome."""
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
        documents=tuple(each.wire_name for each in room.kind.mirrored),
    )
    outbox.put_first(connection.send(welcome, now=now))
    if room.sharing is not None:
        # before the messages that a resume repeats, whose handlers may read the documents
        documents = room.sharing.attach(seat.player, at_once=not why)
        outbox.put_first(*(document.frame(outbox.codec) for document in documents))
    seat.attach(outbox)
    if hello.vocabulary not in ("", _fingerprint_of(room.kind)):
        _note_outdated(room, seat)


def _find_fingerprint(kind: RoomKind) -> str:
    return fingerprint(kind.receives, kind.sends, [(each.wire_name, each.cls) for each in kind.mirrored])


_fingerprint_of: Callable[[RoomKind], str] = functools.cache(_find_fingerprint)


def _note_outdated(room: RoomRuntime, seat: HeldSeat) -> None:
    """Count a client whose event classes differ from the room's, and log the first such client of each kind of room."""
    counters = room.counters
    counters.outdated += 1
    if counters.is_first("outdated", room.kind):
        text = "the client of %r and %s have different events: one of them is outdated"
        log.info(text, seat.name, room.kind.class_name, extra=seat.player.log_context)


def _claim_seat(seat: HeldSeat, hello: Hello, *, new: bool, lost: bool) -> tuple[str, bool]:
    """Give a client the seat, for a resume or for a fresh start.

    Args:
      new: True if the seat was created for this hello.
      lost: see `RoomCore.lost`.

    Returns: the reason for the fresh start, or an empty string for a resume; and True if `greet` has to be called.

    Raises:
      Refused: another client has taken the seat from this client, or this hello is a copy of an earlier hello.
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
        seat.since = hello.attempt  # the client did not get its welcome: all messages since then are sent again
        return seat.why, False
    if new:
        why = "new" if hello.received is None else "lost" if lost else "expired"
    elif same:
        why = "behind" if seat.counts.behind or seat.latest.dropped else "miscount"
    else:
        why = "moved"
    seat.give_to(hello.client, why)
    return why, True
