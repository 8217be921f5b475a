"""The leases of this server's rooms: claimed, renewed together, and given back.

Each is counted from before it was asked for, so that it ends here before the broker gives it to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import trio

from ..broker.broker import Broker, Claim, Renewal
from ..errors import BrokerDown
from ..rooms.bell import Bell
from ..rooms.lease import Lease
from .logs import log
from .mail import AGAIN_SECONDS

# This part of its time it ends earlier here than at the broker, for clocks that do not run alike.
MARGIN = 0.1


class Leases:
    """Every lease that this server holds.

    Args:
      server: what the broker knows it by.
      tell: what is said of a room to all.
    """

    def __init__(self, broker: Broker, server: str, tell: Callable[[str], bytes]) -> None:
        self.renewed_at = -math.inf
        """When what the broker has answered last was asked."""
        self._broker, self._server, self._tell = broker, server, tell
        self._held: dict[str, Lease] = {}
        self._ended: list[tuple[str, int, bool]] = []
        """Those that are to be given back: room, fence, and whether another server is to go on with the room."""
        self._given_back: dict[str, trio.Event] = {}
        """For whom somebody waits."""
        self._asking = trio.Lock()
        """Held while the broker is asked to renew leases, or given one back: or a renewal could arrive after it."""
        self._bell = Bell()

    async def claim(self, room: str) -> tuple[Claim, Lease | None]:
        """Ask for the lease of a room: None if somebody else has it.

        Raises:
          BrokerDown: it can't be reached.
        """
        await self.give_back()  # one of this very room, perhaps: it has closed here, and nothing of it is to go on
        asked_at = trio.current_time()
        claim = await self._broker.claim(room, self._server)
        if claim.server != self._server:
            return claim, None
        lease = self._held[room] = Lease(_until(asked_at, claim.seconds), partial(self._end, room), fence=claim.fence)
        return claim, lease

    async def renew(self, about: bytes) -> Mapping[str, bytes]:
        """Renew all of them, and say this of the server: every server, and what it says of itself.

        Raises:
          BrokerDown: it can't be reached.
        """
        async with self._asking:
            asked_at = trio.current_time()
            held = {room: lease for room, lease in self._held.items() if not lease.over}
            renewals = {room: Renewal(lease.fence, self._tell(room)) for room, lease in held.items()}
            renewed = await self._broker.renew(self._server, renewals, about)
        self.renewed_at = asked_at
        for room, lease in held.items():
            if room in renewed.kept:
                lease.renew(_until(asked_at, self._broker.lease_seconds))
            elif self._held.get(room) is lease:
                log.warning("room %s is another server's by now", room, extra={"room": room})
                lease.lose()
        return renewed.servers

    async def run(self) -> None:
        """Give back those whose rooms are closed, for ever."""
        while True:
            if not self._ended:
                await self._bell.wait()
            try:
                await self.give_back()
            except BrokerDown:
                await trio.sleep(AGAIN_SECONDS)

    async def give_back(self) -> None:
        """Give back all that are to be.

        Raises:
          BrokerDown: it can't be reached.
        """
        while True:
            async with self._asking:
                if not self._ended:
                    return
                room, fence, hand_over = self._ended[0]
                await self._broker.release(room, fence, hand_over=hand_over)
                del self._ended[0]
            if room in self._given_back:
                self._given_back[room].set()

    async def wait_given_back(self, room: str) -> None:
        """Wait until the lease of a room that is about to close has been given back."""
        self._given_back[room] = trio.Event()
        try:
            await self._given_back[room].wait()
        finally:
            del self._given_back[room]

    def _end(self, room: str, lease: Lease) -> None:
        if self._held.get(room) is lease:
            del self._held[room]
        self._ended.append((room, lease.fence, lease.over and not lease.done_with))
        self._bell.ring()


def _until(asked_at: float, seconds: float) -> float:
    return asked_at + seconds * (1 - MARGIN)
