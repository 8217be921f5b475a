"""The node: one server among those that share a broker. It opens rooms, and finds rooms of other servers.

With a shared broker, a room is opened only under a lease that the broker has granted. If the lease runs out, the room's
cancel scope is cancelled, unless `Room.when_cut_off` lets the room continue.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import attrs
import trio

from ..aio.guard import guarded
from ..aio.outage_log import AGAIN_SECONDS, OutageLog
from ..codes import Code
from ..errors import BrokerDown, InvalidEvent, Refused, ServerUnreachable
from ..journal.room_journal import RoomJournal, read_entries, restore, session_of
from ..journal.writer import JournalWriter
from ..protocol.codec import Codec, Frame
from ..protocol.limits import Limits
from ..protocol.pace import Pace
from ..rooms.directory import Directory, Listing
from ..rooms.lease import Lease
from ..rooms.opening import BY_SERVER, Opening, read_options
from ..rooms.records import RecoveredPlayer
from ..rooms.room_runtime import RoomRuntime
from ..seats.persistent_seat import PersistentSeat
from ..transports.transport import Transport
from .broker.broker import Broker, Mailbox
from .broker.broker import Lease as RoomLease
from .link import PeerLinks, PeerMessage
from .ownership import Leases
from .placement import keep_balance
from .relay import Relays
from .rpc import NodeRpc
from .status import UNKNOWN, RoomStatus, ServerStatus, pack, read_room, read_server

log: logging.Logger = logging.getLogger("edge.servers")

# The number of renewals of all leases in one lease period.
RENEWALS = 4
# The number of lease periods after which this server counts as unreachable, if no canary arrives in them.
UNREACHABLE_LEASES = 5
# Seconds before this server tries again to restore the same abandoned room.
ADOPT_SECONDS = 10.0
# Seconds over which a draining server spreads the moves of rooms and relayed clients.
SPREAD_SECONDS = 3.0
# Seconds within which a stopping server returns its leases and leaves the broker.
GOODBYE_SECONDS = 5.0
# The number of seats from which a room is large: its connections are relayed instead of handed off, so that several
# servers write its broadcasts.
LARGE_SEATS = 200
# Seconds that each of the two steps of a move may take: to flush the room's journal, and to restore the room on the
# other server.
MOVE_SECONDS = 2.0

CANARY, ADOPT = "canary", "adopt"

CUT_OFF = "this server can't reach the broker: try again later"
NOT_OPEN = "this room is not open"


class Sharer(Protocol):
    """A component that exchanges messages with other servers."""

    def take(self, sender: str, message: PeerMessage) -> bool:
        """Handle a message from another server. Return False if the message is for another component."""

    def lose(self, server: str) -> None:
        """End everything that is shared with a server, because messages to it or from it were lost."""


HandOff = Callable[[Frame, str], Awaitable[bool]]
"""Hands a connection off to another server. Its arguments are the hello, which was read from the connection, and the
name of the server. It returns False if the connection has to be served here."""


@attrs.frozen
class _RemoteRoom:
    """A room that another server has."""

    relays: Relays
    owner: str
    kind: str
    name: str
    is_small: Callable[[str], Awaitable[bool]]
    hand_off: HandOff | None

    async def relay(self, transport: Transport, codec: Codec, hello: Frame, bulk: Pace | None) -> None:
        room, hand_off = f"{self.kind}/{self.name}", self.hand_off
        if hand_off is not None and await self.is_small(room) and await hand_off(hello, self.owner):
            return
        await self.relays.relay(transport, codec, hello, self.owner, self.kind, self.name, bulk=bulk)


@attrs.define(eq=False)
class _Claiming:
    """A claim or a move of a room that is under way. Other tasks that need the room wait for `done`."""

    done: trio.Event = attrs.field(factory=trio.Event)
    failed: bool = False
    """True if the broker could not be reached."""


class Node:
    """One server among those that share a broker.

    Args:
      relays: relays connections between servers.
      about: returns the status of this server.
      balance: True to move rooms to servers with less load.
    """

    def __init__(
        self,
        broker: Broker,
        directory: Directory,
        relays: Relays,
        *,
        limits: Limits,
        about: Callable[[], ServerStatus],
        balance: bool,
    ) -> None:
        self.id: str = broker.name_server()
        """The name of this server, which no other server has."""
        self.servers: Mapping[str, ServerStatus] = {self.id: ServerStatus()}
        """The newest known status of each server, this server included."""
        self._broker, self._directory, self._relays, self._about = broker, directory, relays, about
        self._limits, self._balance = limits, balance
        self._leases = Leases(broker, self.id, self._tell, self._rewrite)
        self._claiming: dict[str, _Claiming] = {}
        self._departed = trio.Event()
        self._severed = False
        """True after this server has ended everything that it shares with other servers, because it cannot reach the
        broker. The next renewal sets it to false."""
        self._unrenewed = OutageLog("leases are not renewed")
        self.peer_links: PeerLinks = PeerLinks(
            broker, self.id, take=self._take, take_frames=relays.take_frames, lose=self._lose
        )
        relays.peer_links = self.peer_links
        self.rpc: NodeRpc = NodeRpc(self.peer_links)
        """Calls between this server and others."""
        self.rpc.answer(ADOPT, self._adopt_one)
        self._sharers: list[Sharer] = [relays, self.rpc]
        self._writer = JournalWriter(broker)
        if broker.shared:
            directory.reopen = self._reopen
        self._unheard_canaries = 0
        """The number of canaries sent since a canary arrived or a renewal failed."""
        self._nursery: trio.Nursery

    @property
    def shared(self) -> bool:
        """True if there may be other servers."""
        return self._broker.shared

    @property
    def cut_off(self) -> bool:
        """True if the last renewal of this server's leases failed, because the broker could not be reached."""
        return self._unrenewed.on

    @property
    def carried(self) -> int:
        """The number of connections that this server relays to other servers."""
        return len(self._relays.carried)

    def share(self, sharer: Sharer) -> None:
        """Register a component that exchanges messages with other servers."""
        self._sharers.append(sharer)

    def home(self, name: str) -> str:
        """Return the server that is responsible for a name, such as the name of an HTTP transport.

        All servers with the same `servers` return the same result. When a server is added or removed, only the names
        for which it is responsible change their server (rendezvous hashing).
        """
        return max(self.servers, key=lambda server: hashlib.sha256(f"{name} {server}".encode()).digest())

    async def find(
        self, kind: str, name: str, opening: Opening = BY_SERVER, hand_off: HandOff | None = None
    ) -> RoomRuntime | _RemoteRoom:
        """Find a room on any server, or open it here if no server has it. It may not be set up yet.

        Args:
          opening: by whom and how the room is opened. A room that another server can no longer run, and that can be
            restored, is restored even with ``create="never"``.
          hand_off: hands the connection for which the room is found off to the server that has it. Without `hand_off`,
            the connection is relayed.

        Raises:
          Refused: see `Directory.open_runtime`; or the broker can't be reached (`Code.CUT_OFF`); or the client has to
            connect to the room's server directly, or this server is shutting down (`Code.MOVED`).
        """
        room = f"{kind}/{name}"
        while True:
            found = self._directory.find_runtime(kind, name)
            if found is not None:
                return found
            if self._broker.shared and self._directory.closing:
                raise Refused("the server is shutting down", Code.MOVED)
            claiming = self._claiming.get(room)
            if claiming is None:
                break
            await claiming.done.wait()
            if claiming.failed:
                raise Refused(CUT_OFF, Code.CUT_OFF)
        claiming = self._claiming[room] = _Claiming()
        try:
            return await self._claim(kind, name, opening, hand_off)
        except BrokerDown as exc:
            log.debug("room %s could not be claimed: %s", room, exc, extra={"room": room})
            claiming.failed = True
            raise Refused(CUT_OFF, Code.CUT_OFF) from None
        finally:
            self._claiming.pop(room).done.set()

    async def list_rooms(self, kind: str | None = None) -> Sequence[Listing]:
        """List the open rooms of all servers. Rooms of other servers are listed as last reported to the broker.

        Raises:
          BrokerDown: the broker can't be reached.
        """
        listed = {f"{each.kind}/{each.name}": each for each in self._directory.list(kind)}
        for lease in await self._broker.leases() if self._broker.shared else ():
            of_kind, _, name = lease.room.partition("/")
            if lease.seconds > 0 and lease.about and lease.server != self.id and kind in (None, of_kind):
                told = read_room(lease.about)
                listed[lease.room] = Listing(of_kind, name, told.seated, told.maximum, told.locked, lease.server)
        return [listed[room] for room in sorted(listed)] if self._broker.shared else [*listed.values()]

    async def owner(self, room: str) -> str | None:
        """Return the other server that has a room; None if no other server has it.

        Raises:
          BrokerDown: the broker can't be reached.
        """
        return self._other(await self._broker.lease(room)) if self._broker.shared else None

    def _other(self, lease: RoomLease | None) -> str | None:
        return lease.server if lease is not None and lease.seconds > 0 and lease.server != self.id else None

    async def hand_over(self) -> None:
        """End the persistent rooms of this server, so that other servers restore them, and close relayed connections.

        The work is spread over `SPREAD_SECONDS`, so that not all clients reconnect at once.
        """
        rooms = [room for room in self._directory.runtimes if room.journal is not None]
        leave: list[Callable[[], Awaitable[object]]] = [*(partial(self._leave, room) for room in rooms)]
        leave += [partial(self._relays.send_on, link) for link in self._relays.carried]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number, each in enumerate(leave):
                await trio.sleep_until(began + SPREAD_SECONDS * number / len(leave))
                nursery.start_soon(each)

    async def move(self, name: str, to: str) -> bool:
        """Move a persistent room to another server. Clients that connect during the move wait until it is done.

        Returns: True if the other server has the room now. False if the room stays here, or if any server may restore
        the room.
        """
        room = self._directory.find_runtime(*name.split("/", 1))
        if room is None or room.journal is None:
            return False
        left = False
        with trio.move_on_after(MOVE_SECONDS):
            left = await self._leave(room)
        if not left:
            return False
        self._claiming[name] = _Claiming()
        taken = False
        try:
            with trio.move_on_after(MOVE_SECONDS), contextlib.suppress(BrokerDown):
                await self._leases.wait_given_back(name)
                taken = await self.rpc.ask(to, ADOPT, name)
        finally:
            self._claiming.pop(name).done.set()
        return taken

    async def _leave(self, room: RoomRuntime) -> bool:
        """Flush the journal of a room, and end its lease, so that another server can restore the room.

        Returns: False if the room is closing, or has lost its lease.
        """
        assert room.journal is not None
        await room.journal.wait_written()
        if room.closing or room.lease.over:
            return False
        room.lease.lose()
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Renew leases and exchange messages with other servers, for ever.

        Raises:
          BrokerDown: the broker could not be reached at the start.
          ServerUnreachable: no canary arrives, although the broker can be reached.

        *Cancellation* returns all leases, if the broker answers within `GOODBYE_SECONDS`.
        """
        if not self._broker.shared:
            task_status.started()
            await trio.sleep_forever()
        async with trio.open_nursery() as around:
            mailbox: Mailbox = await around.start(self._hold_broker)
            try:
                await self._renew()
            except BaseException:
                self._departed.set()  # otherwise, the connection to the broker would stay open for ever
                raise
            try:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self.peer_links.receive, mailbox)
                    self._nursery.start_soon(self.peer_links.send)
                    self._nursery.start_soon(self._keep_leases)
                    self._nursery.start_soon(self._leases.run)
                    self._nursery.start_soon(self._writer.run)
                    self._nursery.start_soon(self._adopt)
                    if self._balance:
                        self._nursery.start_soon(keep_balance, self, self._directory)
                    self._nursery.start_soon(self.rpc.run)
                    log.info("this is server %s", self.id)
                    task_status.started()
            finally:
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._depart()
                self._departed.set()

    async def _hold_broker(self, *, task_status: trio.TaskStatus[Mailbox]) -> None:
        """Stay connected to the broker until this server has left it. Once connected, ignore cancellation."""
        with trio.CancelScope() as connected:
            async with self._broker.open(), self._broker.mailbox(self.id) as mailbox:
                connected.shield = True
                task_status.started(mailbox)
                await self._departed.wait()

    async def _depart(self) -> None:
        try:
            await self._leases.give_back()
            await self._broker.leave(self.id)
        except BrokerDown as exc:
            log.warning(
                "server %s could not return its leases, so no other server can open its rooms until they expire: %s",
                self.id,
                exc,
            )

    async def _keep_leases(self) -> None:
        pause = self._broker.lease_seconds / RENEWALS
        while True:
            began = trio.current_time()
            try:
                await self._renew()
            except BrokerDown as exc:
                self._unrenewed.note(exc)
                self._sever_if_cut_off()
                self._unheard_canaries = 0
                await trio.sleep(AGAIN_SECONDS)
            else:
                self._unrenewed.over()
                self._check_canary()
                await trio.sleep_until(began + pause)

    def _sever_if_cut_off(self) -> None:
        """End everything that this server shares with other servers, if all its leases have run out at the broker.

        Relayed clients get a goodbye.
        """
        if not self._severed and trio.current_time() - self._leases.renewed_at > self._broker.lease_seconds:
            self._severed = True
            for server in sorted(self.peer_links.servers - {self.id}):
                self.peer_links.lose(server)

    async def _adopt(self) -> None:
        """Restore abandoned persistent rooms, for ever, even if no client connects to them."""
        again_at: dict[str, float] = {}
        while True:
            await trio.sleep(self._broker.lease_seconds / 2)
            try:
                left = await self._broker.left()
            except BrokerDown:
                continue
            now = trio.current_time()
            for room in [room for room in left if again_at.get(room, now) <= now]:
                again_at[room] = now + ADOPT_SECONDS  # by then, another server may have restored it
                await guarded(f"adopting room {room}", partial(self._adopt_one, room))
            again_at = {room: at for room, at in again_at.items() if at > now}

    async def _adopt_one(self, room: str) -> bool:
        """Restore a room on this server, if no server has it. Return True if this server has the room now."""
        kind, _, name = room.partition("/")
        with contextlib.suppress(Refused):
            return isinstance(await self.find(kind, name, Opening(create="never")), RoomRuntime)
        return False

    async def _renew(self) -> None:
        servers = await self._leases.renew(pack(self._about()))
        self._severed = False
        self.servers = {server: self._status(server, said) for server, said in servers.items() if said}
        self.peer_links.forget(self.peer_links.servers - servers.keys())

    def _status(self, server: str, said: bytes) -> ServerStatus:
        try:
            return read_server(said)
        except InvalidEvent as exc:
            if server not in self.servers:
                log.warning("the status of server %s can't be read, so no rooms are moved to it: %s", server, exc)
            return UNKNOWN

    def _tell(self, room: str) -> tuple[RoomStatus | None, int]:
        """Describe a room for other servers.

        Returns: the description, or None if the room is closed; and the number of the newest written entry of the
        room's journal, or 0 if there is none.
        """
        found = self._directory.find_runtime(*room.split("/", 1))
        if found is None or found.closing:
            return None, 0
        told = RoomStatus(len(found.ledger), found.ledger.maximum, found.ledger.locked)
        return told, 0 if found.journal is None else found.journal.written_number

    def _rewrite(self, rooms: Iterable[str]) -> None:
        found = [self._directory.find_runtime(*room.split("/", 1)) for room in rooms]
        journals = (room.journal for room in found if room is not None)
        self._writer.rewrite(journal for journal in journals if isinstance(journal, RoomJournal))

    def _check_canary(self) -> None:
        """Send a canary, a message from this server to itself.

        Raises:
          ServerUnreachable: too many earlier canaries have not arrived.
        """
        if self._unheard_canaries >= UNREACHABLE_LEASES * RENEWALS:
            lost = f"{self._unheard_canaries} messages from this server to itself"
            raise ServerUnreachable(f"{lost} have not arrived, although the broker can be reached")
        self._unheard_canaries += 1
        self.peer_links.pulse()
        self.peer_links.put(self.id, [CANARY])

    async def _claim(
        self, kind: str, name: str, opening: Opening, hand_off: HandOff | None
    ) -> RoomRuntime | _RemoteRoom:
        room = f"{kind}/{name}"
        if self._broker.shared and opening.create == "never":  # a claim for a room that does not exist would be wasted
            found = await self._broker.lease(room)
            if found is None or not (found.kept or found.seconds > 0):
                raise Refused(NOT_OPEN, Code.NO_ROOM)
        try:
            self._directory.check(kind, name, opener=opening.opener)
        except Refused as refused:  # this server can't open the room, but another server may have it
            if not self._broker.shared or refused.code not in (Code.FULL, Code.ROOM_CRASHED):
                raise
            found = await self._broker.lease(room)
            owner = self._other(found)
            if owner is not None:
                return self._elsewhere(owner, kind, name, hand_off)
            if refused.code is not Code.FULL or found is None or not found.kept or found.seconds > 0:
                raise
            if self._directory.full:
                raise Refused("this server has as many rooms as it may open", Code.MOVED) from None
            opening = attrs.evolve(opening, opener="")  # a restored room does not count towards its opener's limit
        if self._broker.shared:
            claim, lease = await self._leases.claim(room)
            if lease is None:
                if not claim.server:
                    raise Refused("the broker can't grant leases yet: try again later", Code.CUT_OFF)
                return self._elsewhere(claim.server, kind, name, hand_off)
            if opening.create == "never" and not claim.abandoned:  # the room has ended meanwhile
                lease.conclude()
                lease.end()
                raise Refused(NOT_OPEN, Code.NO_ROOM)
            return await self._open(kind, name, opening, lease, abandoned=claim.abandoned)
        return self._directory.open_runtime(kind, name, opening)

    def _elsewhere(self, owner: str, kind: str, name: str, hand_off: HandOff | None) -> _RemoteRoom:
        """Return a room of another server, to which this server hands off or relays connections.

        Raises:
          Refused: the other server has an address. The refusal contains it, so that the client connects to it.
        """
        status = self.servers.get(owner)
        if status is not None and status.address:
            where = f"{status.address.rstrip('/')}/rooms/{kind}/{name}"
            raise Refused("the room is at another server", Code.MOVED, where)
        return _RemoteRoom(self._relays, owner, kind, name, self._is_small, hand_off)

    async def _is_small(self, room: str) -> bool:
        """Return whether a room of another server has fewer than `LARGE_SEATS` seats."""
        with contextlib.suppress(BrokerDown):
            lease = await self._broker.lease(room)
            return lease is None or not lease.about or read_room(lease.about).seated < LARGE_SEATS
        return False

    async def _open(self, kind: str, name: str, opening: Opening, lease: Lease, *, abandoned: bool) -> RoomRuntime:
        """Open a room under a lease. Restore an abandoned room from its journal, if it has one.

        If opening fails, the journal stays unchanged, so that another server can restore the room.
        """

        def prepare(room: RoomRuntime) -> None:
            if room.kind.continues_without_broker:
                lease.continue_without_broker()
            if room.kind.persistent:
                room.journal = RoomJournal(room, self._writer.note)
            room.lost = abandoned
            if room.journal is not None and recovery is not None:
                room.lost = False
                room.recover = partial(restore, room, recovery, partial(restore_player, room, self._limits))
                if not room.kind.has_setup:  # so that a room that cannot be restored is not opened
                    room.restore()
                    room.journal.mark_changed()

        try:
            entries = await self._broker.read(f"{kind}/{name}") if abandoned else ()
            recovery = read_entries(entries) if entries else None
            if recovery is not None:
                opening = attrs.evolve(opening, options=recovery.options)
            if abandoned:
                opening = attrs.evolve(opening, create="if needed", client="")
            return self._directory.open_runtime(kind, name, opening, lease=lease, prepare=prepare)
        except BaseException:
            self._writer.forget(lease)
            if abandoned:
                lease.lose()  # so that another server can restore the room
            lease.end()
            raise

    def _reopen(self, kind: str, name: str, opening: Opening) -> None:
        async def reopen() -> None:
            with contextlib.suppress(Refused):
                await self.find(kind, name, opening)

        self._nursery.start_soon(reopen)

    def _lose(self, server: str) -> None:
        for sharer in self._sharers:
            sharer.lose(server)

    def _take(self, sender: str, message: PeerMessage) -> None:
        if message == [CANARY]:
            self._unheard_canaries = 0
        elif not any(sharer.take(sender, message) for sharer in self._sharers):
            log.error("server %s sent an unknown message, which is dropped: %r", sender, message[:1])


def restore_player(room: RoomRuntime, limits: Limits, player: RecoveredPlayer) -> None:
    """Restore a player who had a seat in this room on another server."""
    assert room.journal is not None
    record = player.record
    options = read_options(record.options, room.kind.join_options, room.kind.rename)
    seat = PersistentSeat(room.journal, session_of(record), record.name, limits, options)
    seat.enter(room, number=record.number)
    seat.restore(player)
