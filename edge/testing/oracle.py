"""Checks edge's own invariants, which must hold on every network and for all messages that clients send.

An `Oracle` observes rooms and clients, the two ends of each connection. The oracle records the messages that each end
sends and receives, and compares them. It does not change the behaviour of rooms and clients.
"""

from __future__ import annotations

import base64
import gc
import json
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from ..client.client import Client, Status
from ..codes import Code
from ..connections.outbox import Outbox
from ..errors import EdgeError, InvalidEvent, RemoteProtocolError
from ..protocol.codec import JSON
from ..protocol.connection import State as Conversation
from ..protocol.messages import Event, Message, Patch, is_counted, to_plain
from ..protocol.outgoing import Outgoing
from ..rooms.documents import DocumentKind
from ..rooms.ledger import Member, PlayerState
from ..rooms.player import Player, member_of
from ..rooms.player_runtime import PlayerRuntime
from ..rooms.room_runtime import RoomRuntime
from ..rooms.sharing import Sharing
from ..seats.held_seat import HeldSeat
from .network import Link

# The seconds after which the seat of a client that has left must be free.
LEAVING_SECONDS = 3.0

Invariant = Callable[[Any], object]
"""A function that checks an open room. It raises `AssertionError` or any other exception if the check fails."""


class InvariantBroken(EdgeError, AssertionError):
    """An invariant does not hold. The message describes each violation."""


@attrs.define(eq=False)
class _Epoch:
    """The counted messages, as JSON, between a seat and one client from one fresh start to the next."""

    client: str
    seat: HeldSeat
    sent: list[str] = attrs.field(factory=list)
    """The messages that the room sent."""
    heard: list[str | None] = attrs.field(factory=list)
    """The messages that the room received; None for a message that was refused."""
    client_sent: list[str] | None = None
    """The messages that the client sent; None until the client has its welcome."""
    client_heard: list[str | None] = attrs.field(factory=list)
    """The messages that the client received."""


@attrs.define(eq=False)
class _Life:
    """Counts how often a player's `Room.player` began and ended, and how often the player left and its seat ended."""

    begun: int = 0
    over: int = 0
    left: int = 0
    ended: int = 0


@attrs.define(eq=False)
class _Watched:
    """A client that an oracle observes."""

    client: Client[Any, Any]
    link: Link
    epoch: _Epoch | None = None
    given: int = 0
    """The number of events that the client has passed to the code that uses it."""
    left_at: float = math.inf
    """The time at which the client left, if it had a connection and had sent its hello; else infinite."""
    sending: list[str] = attrs.field(factory=list)


class Oracle:
    """Observes rooms and clients, and reports broken invariants.

    Args:
      invariants: further invariants, by authors.
    """

    def __init__(self, invariants: Sequence[Invariant] = ()) -> None:
        self._invariants = invariants
        self._faults: list[str] = []
        self._rooms: weakref.WeakSet[RoomRuntime] = weakref.WeakSet()
        self._lives: weakref.WeakKeyDictionary[PlayerRuntime, _Life] = weakref.WeakKeyDictionary()
        self._epochs: dict[str, _Epoch] = {}
        """The newest epoch of each client, by the identifier of the client."""
        self._clients: dict[str, _Watched] = {}
        self._shown: dict[tuple[str, str], dict[int, str]] = {}
        """What each client may see of each shared document, as JSON, by the version of the patch."""
        self._owners: dict[Outgoing, HeldSeat] = {}
        """The seats to which patches were sent that only one client may get."""

    def watch_room(self, room: RoomRuntime) -> None:
        """Observe a room and all its players."""
        self._rooms.add(room)
        order: dict[Outgoing, int] = {}
        take_seat, play, lives = room.take_seat, room.facade.player, self._lives
        if room.sharing is not None:
            self._watch_sharing(room, room.sharing)

        def watched_take_seat(seat: Any) -> PlayerRuntime:
            player = take_seat(seat)
            lives[player] = _Life()
            if len(room.ledger) > room.ledger.maximum:
                self._fault(f"{len(room.ledger)} players hold the {room.ledger.maximum} seats of {room.path}")
            self._watch_seat(seat, player, order)
            return player

        async def watched_player(player: Player[Any, Any]) -> None:
            life = lives[member_of(player)]
            life.begun += 1
            try:
                await play(player)
            finally:
                life.over += 1

        room.take_seat = watched_take_seat  # type: ignore[method-assign]
        object.__setattr__(room.facade, "player", watched_player)  # `Room` rejects an ordinary assignment

    def note_leaving(self, client: Client[Any, Any]) -> None:
        """Record that a client leaves now. Call this method before `Client.leave`."""
        greeted = client._connection is not None and client._connection.state is Conversation.GREETED
        if client.status is Status.OPEN or greeted:
            self._clients[client._client].left_at = trio.current_time()

    def watch_client(self, client: Client[Any, Any], link: Link) -> None:
        """Observe a client. Call this method before the client connects."""
        watched = self._clients[client._client] = _Watched(client, link)
        give = client._give

        def watched_give(event: Any) -> None:
            watched.given += 1
            give(event)

        client._give = watched_give  # type: ignore[method-assign]
        sending, deliver, refuse = client._send_buffer, client.deliver, client.refuse
        send, attach, reset_counts = sending.send, sending.attach, sending.reset_counts

        def watched_send(message: Outgoing) -> None:
            before = sending.counts.sent
            send(message)
            if sending.counts.sent > before:
                watched.sending.append(_text(message))

        def watched_start_fresh() -> None:
            reset_counts()
            watched.sending = []

        def watched_attach(outbox: Outbox) -> None:
            self._note_welcome(watched)
            attach(outbox)

        def watched_deliver(message: Message) -> None:
            if is_counted(message):
                self._client_heard(watched, _as_json(message))
            given = watched.given
            deliver(message)
            if isinstance(message, Event) and watched.given == given and not client.errors:
                self._fault(f"the client {client._name!r} dropped {message.name} without an error")

        update = client._update

        def watched_update(message: Patch) -> None:
            try:
                update(message)
            except RemoteProtocolError as exc:
                self._fault(f"the client {client._name!r} got a patch that does not fit: {exc}")
                raise
            for name in () if message.more else client._mirrors.names:
                mirror = client._mirrors.mirror(name)
                assert mirror is not None
                shown = self._shown.get((client._client, name), {}).get(mirror.version)
                if shown != _sorted(mirror.plain):
                    what = f"{name} in version {mirror.version}"
                    self._fault(f"the client {client._name!r} has {what}: {_sorted(mirror.plain)}, and not {shown}")

        client._update = watched_update  # type: ignore[method-assign]

        def watched_refuse(fault: InvalidEvent) -> None:
            self._fault(f"the client {client._name!r} could not read a message of the room: {fault}")
            refuse(fault)

        sending.send, sending.attach = watched_send, watched_attach  # type: ignore[method-assign]
        sending.reset_counts = watched_start_fresh  # type: ignore[method-assign]
        client.deliver, client.refuse = watched_deliver, watched_refuse  # type: ignore[method-assign]

    def _watch_seat(self, seat: Any, player: PlayerRuntime, order: dict[Outgoing, int]) -> None:
        life = self._lives[player]
        leave, end = player.leave, seat.end

        def watched_leave(code: Code, reason: str = "") -> bool:
            first = leave(code, reason)
            life.left += first
            return first

        def watched_end(code: Code, reason: str) -> None:
            life.ended += 1
            end(code, reason)

        player.leave, seat.end = watched_leave, watched_end  # type: ignore[method-assign]
        if isinstance(seat, HeldSeat):
            self._watch_held_seat(seat, player, order)

    def _watch_held_seat(self, seat: HeldSeat, player: PlayerRuntime, order: dict[Outgoing, int]) -> None:
        give_to, send, deliver, refuse = seat.give_to, seat.send, player.deliver, player.refuse
        send_written = seat.send_written
        epoch = _Epoch(seat.client, seat)
        if seat.client:
            self._epochs[seat.client] = epoch
        newest = last = before_fresh = -1

        def watched_give_to(client: str, why: str) -> None:
            nonlocal epoch, newest, before_fresh
            give_to(client, why)
            # After a fresh start, the seat repeats unanswered requests. They may follow newer messages of `Room.greet`,
            # so the order is not checked for messages up to `before_fresh`.
            newest, before_fresh = -1, last
            epoch = self._epochs[client] = _Epoch(client, seat)

        def watched_send(message: Outgoing) -> None:
            nonlocal newest, last
            before = seat.counts.sent
            self._check_owner(seat, message)
            send(message)
            if seat.counts.sent > before:
                epoch.sent.append(_text(message))
                place = order.setdefault(message, len(order))
                if before_fresh < place <= newest:
                    self._fault(f"{player!r} was sent {_text(message)} out of the room's order")
                newest, last = max(newest, place), max(last, place)

        def watched_send_written(message: Outgoing) -> None:
            self._check_owner(seat, message)
            send_written(message)

        def watched_deliver(message: Message) -> None:
            if is_counted(message):
                self._seat_heard(epoch, _as_json(message))
            deliver(message)

        def watched_refuse(fault: InvalidEvent) -> None:
            if seat.counts.received > len(epoch.heard):
                self._seat_heard(epoch, None)
            refuse(fault)

        seat.give_to, seat.send = watched_give_to, watched_send  # type: ignore[method-assign]
        seat.send_written = watched_send_written  # type: ignore[method-assign]
        player.deliver, player.refuse = watched_deliver, watched_refuse  # type: ignore[method-assign]

    def _check_owner(self, seat: HeldSeat, message: Outgoing) -> None:
        if self._owners.get(message, seat) is not seat:
            self._fault(f"the document of one player was sent to another: {_text(message)}")

    def _watch_sharing(self, room: RoomRuntime, sharing: Sharing) -> None:
        take_changes = sharing.take_changes

        def watched_take_changes() -> list[tuple[Member, Outgoing]]:
            messages = take_changes()
            for member, message in messages:
                if isinstance(member, PlayerRuntime) and isinstance(member.seat, HeldSeat):
                    self._note_patch(member.seat, member, message)
            return messages

        sharing.take_changes = watched_take_changes  # type: ignore[method-assign]

    def _note_patch(self, seat: HeldSeat, player: PlayerRuntime, message: Outgoing) -> None:
        """Record what a client may see of a shared document when the room sends it a patch."""
        name, (version, *_) = message.name[1:], message.plain[1]
        sharing = player.room.sharing
        assert sharing is not None
        (kind,) = (kind for kind in player.room.kind.documents if kind.mirrored.wire_name == name)
        if kind.each or kind.view is not None:
            self._owners[message] = seat
        self._shown.setdefault((seat.client, name), {})[version] = _sorted(_document(sharing, kind, player))

    def _note_welcome(self, watched: _Watched) -> None:
        epoch, welcome = self._epochs.get(watched.client._client), watched.client.welcome
        if epoch is None or welcome is None:
            self._fault(f"{watched.client._name!r} got a welcome, but has no seat")
        elif not welcome.resumed:
            epoch.client_sent, watched.epoch = watched.sending, epoch
        elif epoch is not watched.epoch:
            self._fault(f"{watched.client._name!r} got a welcome to resume, but the seat is new or has started fresh")

    def _client_heard(self, watched: _Watched, text: str) -> None:
        epoch, who = watched.epoch, f"the client {watched.client._name!r}"
        if epoch is None:
            self._fault(f"{who} received {text} before its welcome")
        else:
            epoch.client_heard.append(text)
            self._compare(epoch.client_heard, epoch.sent, who)

    def _seat_heard(self, epoch: _Epoch, text: str | None) -> None:
        epoch.heard.append(text)
        if len(epoch.heard) != epoch.seat.counts.received:
            self._fault(
                f"the seat of {epoch.seat.name!r} received {len(epoch.heard)}, but counted {epoch.seat.counts.received}"
            )
        if epoch.client_sent is not None:
            self._compare(epoch.heard, epoch.client_sent, f"the seat of {epoch.seat.name!r}")
        elif epoch.client in self._clients:
            self._fault(f"{epoch.seat.name!r} sent a message before its welcome")

    def _compare(self, heard: list[str | None], sent: list[str], who: str) -> None:
        place = len(heard) - 1
        if place >= len(sent):
            self._fault(f"{who} received {heard[place]}, which was not sent, or is a duplicate")
        elif heard[place] is not None and heard[place] != sent[place]:
            self._fault(f"{who} received {heard[place]}, but {sent[place]} was next")

    def unsettled(self) -> str:
        """Describe a message that has not arrived, or a client that is not connected. Return an empty text if there is
        neither.

        Call this method on a network without disturbances.
        """
        for watched in self._clients.values():
            client, epoch = watched.client, watched.epoch
            if client.status is Status.CLOSED:
                continue
            if client.status is not Status.OPEN:
                return f"the client {client._name!r} is {client.status}, after {client.lost}"
            if epoch is None or epoch.client_sent is None:
                return f"the client {client._name!r} is open without a seat"
            if len(epoch.client_heard) < len(epoch.sent):
                return f"the client {client._name!r} has not received {epoch.sent[len(epoch.client_heard)]}"
            if len(epoch.heard) < len(epoch.client_sent):
                return f"the seat of {client._name!r} has not received {epoch.client_sent[len(epoch.heard)]}"
            if outdated := self._outdated(client, epoch.seat.player):
                return outdated
            if forgotten := client._requests.unanswered - epoch.seat.player.requests.unsettled:
                return f"{client._name!r} waits for answers to requests {sorted(forgotten)} that the room does not have"
        return ""

    def _outdated(self, client: Client[Any, Any], player: PlayerRuntime) -> str:
        """Describe a mirror of a client that is not what its player may see; empty if there is none."""
        sharing = player.room.sharing
        for kind in player.room.kind.documents if sharing is not None and not (sharing.held or player.left) else ():
            assert sharing is not None
            mirror, shown = client._mirrors.mirror(kind.mirrored.wire_name), _sorted(_document(sharing, kind, player))
            if mirror is not None and _sorted(mirror.plain) != shown:
                return f"the client {client._name!r} has {kind.name}: {_sorted(mirror.plain)}, and not {shown}"
        return ""

    def check(self) -> None:
        """Check all invariants that must hold at any time.

        Raises:
          InvariantBroken: an invariant of edge is broken. The message has all violations so far.
          Exception: an author's invariant raised this exception.
        """
        for room in sorted(self._rooms, key=lambda room: room.path):
            self._check_seats(room)
            if not room.closing:
                for invariant in self._invariants:
                    invariant(room.facade)
        for player, life in list(self._lives.items()):
            self._check_life(player, life)
        for watched in self._clients.values():
            if not watched.link.troubled:
                self._check_calm(watched)
        if self._faults:
            raise InvariantBroken("\n".join(self._faults))

    def _check_seats(self, room: RoomRuntime) -> None:
        players = room.players
        for what in ("number", "session"):
            held = [getattr(player, what) for player in players]
            if len(set(held)) < len(held):
                self._fault(f"two players of {room.path} have the same {what}: {players}")
        for player in players:
            if isinstance(player.seat, HeldSeat) and (player.state is PlayerState.AWAY) != (player.seat.outbox is None):
                self._fault(f"{player!r} has {'no' if player.seat.outbox is None else 'a'} connection")

    def _check_calm(self, watched: _Watched) -> None:
        """Check a client whose link was never disturbed."""
        client, lost = watched.client, watched.client.lost
        if lost is not None and lost.code in (Code.OVERFLOW, Code.BEHIND, Code.STALLED):
            self._fault(f"the client {client._name!r}, which reads, was cut off: {lost}")
        if trio.current_time() > watched.left_at + LEAVING_SECONDS:
            for player in [player for room in self._rooms for player in room.players]:
                if _client_of(player) == client._client:
                    self._fault(f"the client {client._name!r} has left, and {player!r} still has its seat")

    def _check_life(self, player: PlayerRuntime, life: _Life) -> None:
        if max(life.begun, life.over, life.left, life.ended) > 1:
            self._fault(f"{player!r} began {life.begun}, ended {life.over}, left {life.left} times")
        if player.left and (player.turns or len(player.listeners)):
            self._fault(f"{player!r} has left, and still has turns {player.turns}, listeners {len(player.listeners)}")
        if player.left and player in player.room.ledger.members:
            self._fault(f"{player!r} has left, and is still in the ledger")

    def check_over(self) -> None:
        """Check that each player has left exactly once, and that no room and no player is still in memory.

        Call this method after all rooms have closed.

        Raises:
          InvariantBroken: an invariant is broken. The message has all violations.
        """
        self._check_left()
        self.check()
        self._epochs.clear()
        self._clients.clear()
        self._owners.clear()
        gc.collect()
        if self._rooms or self._lives:
            self._fault(f"memory is not freed: {[*self._rooms, *self._lives]}")
        self.check()

    def _check_left(self) -> None:
        for player, life in list(self._lives.items()):
            if (life.left, life.ended) != (1, 1) or life.begun != life.over:
                self._fault(f"{player!r} left {life.left} times, and its seat ended {life.ended} times")

    def _fault(self, text: str) -> None:
        if text not in self._faults:
            self._faults.append(text)


def _client_of(player: PlayerRuntime) -> str:
    return player.seat.client if isinstance(player.seat, HeldSeat) else ""


def _document(sharing: Sharing, kind: DocumentKind, player: PlayerRuntime) -> Any:
    """Return what a player may see of a document, as plain data, from the objects of the author's code alone."""
    document = player.documents.get(kind.name) if kind.each else sharing.common[kind.name]
    shown = document if kind.view is None else kind.view(document, player.facade)
    return kind.differ.plain(kind.differ.shadow(shown))


def _sorted(plain: Any) -> str:
    """Return plain data as text that is the same for dicts with another order of names."""
    return json.dumps(plain, sort_keys=True, default=lambda value: base64.b64encode(value).decode())  # of bytes


def _as_json(message: Message) -> str:
    return str(JSON.encode(to_plain(message)))


def _text(message: Outgoing) -> str:
    return str(message.text)
