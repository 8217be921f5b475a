"""The leases of this server's rooms. `Leases` claims them, renews them together, and returns them to the broker.

This server counts the time of a lease from the moment before it sends its request. Therefore, a lease ends on this
server before the broker can grant the room to another server.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count

import attrs
import trio

from ..aio.outage_log import AGAIN_SECONDS
from ..aio.wakeup import WakeUp
from ..errors import BrokerDown
from ..rooms.lease import Lease
from .broker.broker import Broker, Claim, News, Renewed, Stamp, Wish
from .status import RoomStatus, pack

log: logging.Logger = logging.getLogger("edge.servers")

# The fraction of its length by which a lease ends earlier on this server than at the broker, because the clocks of the
# two may run at different rates.
MARGIN = 0.1
# The maximum number of rooms in one request to the broker, so that requests of other servers are not delayed for long.
BATCH = 500
# The maximum number of closed rooms whose fences are stored, to limit the memory.
MAX_CLOSED = 10_000


@attrs.define(eq=False)
class _Held:
    """A lease that this server has."""

    lease: Lease
    told: RoomStatus | None = None
    """The description of the room that was last published at the broker."""


class Leases:
    """The leases that this server has.

    Args:
      server: the id of this server at the broker.
      tell: called with the name of a room. It returns the description of the room for other servers, and the number of
        the newest entry of the room's journal.
      rewrite: called with the rooms whose journals are incomplete at the broker.
    """

    def __init__(
        self,
        broker: Broker,
        server: str,
        tell: Callable[[str], tuple[RoomStatus | None, int]],
        rewrite: Callable[[Iterable[str]], object],
    ) -> None:
        self.renewed_at: float = -math.inf
        """The time at which the last successful renewal was sent, on Trio's clock."""
        self._broker, self._server, self._tell, self._rewrite = broker, server, tell, rewrite
        self._about = b""
        self._mark = ""
        """The `Renewed.mark` at the last complete comparison of all leases with the broker. If it is empty, the next
        renewal compares them."""
        self._held: dict[str, _Held] = {}
        self._ended: list[News] = []
        """The requests to return leases that the broker has not answered yet."""
        self._closed: dict[str, int] = {}
        """The fence of each room that has closed here for good. With it, a lost `Wish.RELEASE` can be repeated."""
        self._given_back: dict[str, trio.Event] = {}
        """The rooms for which a task waits in `wait_given_back`, each with the event that ends the wait."""
        self._numbers = count(1)
        self._waiting: dict[int, str] = {}
        """The numbers of unanswered requests, each with the room that the request claims, or "" for a renewal."""
        self._asking = trio.Lock()
        """A lock for renewing or returning leases, so that these requests do not overlap."""
        self._wake_up = WakeUp()

    async def claim(self, room: str) -> tuple[Claim, Lease | None]:
        """Claim the lease of a room. The returned lease is None if the claim was not granted.

        Raises:
          BrokerDown: the broker cannot be reached.

        *Cancellation*: if the claim was granted, the lease is returned to the broker.
        """
        if any(ended.room == room for ended in self._ended):  # otherwise, a closed room would be restored
            await self.give_back()
        asked_at, stamp = trio.current_time(), self._stamp(room)
        try:
            claim = await self._broker.claim(room, self._server, stamp)
        except BaseException:  # the claim may have been granted: return the lease
            self._end(News(Wish.HAND_OVER, room, 0, claim=stamp.number))
            raise
        finally:
            del self._waiting[stamp.number]
        if claim.server != self._server:
            return claim, None
        lease = Lease(_until(asked_at, claim.seconds), partial(self._end_lease, room), fence=claim.fence)
        self._held[room] = _Held(lease)
        return claim, lease

    async def renew(self, about: bytes) -> Mapping[str, bytes]:
        """Renew all leases, and publish the status of this server. Returns: the status of each server.

        Args:
          about: the encoded status of this server.

        Raises:
          BrokerDown: the broker cannot be reached.
        """
        async with self._asking:
            self._about = about
            changed: list[tuple[str, _Held, RoomStatus | None]] = []
            for room, held in self._live():
                told, _ = self._tell(room)
                if told != held.told and len(changed) < BATCH:
                    changed.append((room, held, told))
            asked_at = trio.current_time()
            news = [News(Wish.TELL, room, held.lease.fence, _packed(told)) for room, held, told in changed]
            renewed = await self._settle(news)
            for _, held, told in changed:
                held.told = told
            if renewed.mark == self._mark:
                for _, held in self._live():
                    held.lease.renew(_until(asked_at, self._broker.lease_seconds))
            else:
                await self._compare(renewed.mark)
        return renewed.servers

    async def _compare(self, mark: str) -> None:
        """Send a `Wish.KEEP` for each lease, because the broker may have lost leases. Return unused leases again.

        Args:
          mark: the `Renewed.mark` of the renewal that started this comparison.
        """
        self._mark = ""
        live = self._live()
        for first in range(0, len(live), BATCH):
            batch = [(room, held) for room, held in live[first : first + BATCH] if not held.lease.over]
            asked_at = trio.current_time()
            renewed = await self._settle([self._keep(room, held) for room, held in batch])
            if renewed.mark != mark:
                return  # compare again at the next renewal
            for room, held in batch:
                if room not in renewed.refused:
                    held.lease.renew(_until(asked_at, self._broker.lease_seconds))
                elif self._held.get(room) is held:
                    log.warning(
                        "room %s ends on this server: another server has claimed it", room, extra={"room": room}
                    )
                    held.lease.lose()
            self._rewrite(sorted(renewed.forgotten))
        for lease in await self._broker.leases():  # the broker may still have leases that were returned
            if lease.server == self._server and not (lease.room in self._held or lease.room in self._waiting.values()):
                wish = Wish.RELEASE if self._closed.get(lease.room) == lease.fence else Wish.HAND_OVER
                self._end(News(wish, lease.room, lease.fence))
        self._mark = mark

    def _keep(self, room: str, held: _Held) -> News:
        held.told, entries = self._tell(room)
        return News(Wish.KEEP, room, held.lease.fence, _packed(held.told), entries)

    async def run(self) -> None:
        """Return the lease of each room that closes, for ever."""
        while True:
            if not self._ended:
                await self._wake_up.wait()
            try:
                await self.give_back()
            except BrokerDown:
                await trio.sleep(AGAIN_SECONDS)

    async def give_back(self) -> None:
        """Return the leases of all rooms that have closed.

        Raises:
          BrokerDown: the broker cannot be reached.
        """
        while True:
            async with self._asking:
                if not self._ended:
                    return
                ended = self._ended[:BATCH]
                await self._settle(ended)
                del self._ended[: len(ended)]
            for each in ended:
                if each.room in self._given_back:
                    self._given_back[each.room].set()

    async def wait_given_back(self, room: str) -> None:
        """Wait until the lease of a room is returned. Call this before the room has closed."""
        self._given_back[room] = trio.Event()
        try:
            await self._given_back[room].wait()
        finally:
            del self._given_back[room]

    async def _settle(self, news: Sequence[News]) -> Renewed:
        """Renew all leases, and send the requests `news` with the renewal."""
        asked_at, stamp = trio.current_time(), self._stamp()
        try:
            renewed = await self._broker.renew(self._server, stamp, self._about, news)
        finally:
            del self._waiting[stamp.number]
        self.renewed_at = asked_at
        return renewed

    def _stamp(self, room: str = "") -> Stamp:
        number = next(self._numbers)
        self._waiting[number] = room
        return Stamp(number, min(self._waiting))

    def _live(self) -> list[tuple[str, _Held]]:
        return [(room, held) for room, held in self._held.items() if not held.lease.over]

    def _end_lease(self, room: str, lease: Lease) -> None:
        held = self._held.get(room)
        if held is not None and held.lease is lease:
            del self._held[room]
        if lease.over and not lease.done_with:
            self._end(News(Wish.HAND_OVER, room, lease.fence))
            return
        self._end(News(Wish.RELEASE, room, lease.fence))
        self._closed.pop(room, None)
        self._closed[room] = lease.fence
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]

    def _end(self, news: News) -> None:
        self._ended.append(news)
        self._wake_up.wake()


def _packed(told: RoomStatus | None) -> bytes:
    return b"" if told is None else pack(told)


def _until(asked_at: float, seconds: float) -> float:
    return asked_at + seconds * (1 - MARGIN)
