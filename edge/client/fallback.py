"""Which transport to try: WebSocket, else a stream, else polling. Judged end to end, remembered, tried upward later.

Knows no sockets and no clock: times are arguments. `edge.js` goes by the same rules and numbers.
"""

from __future__ import annotations

import enum
import math


class TransportKind(enum.StrEnum):
    """The transports, best first."""

    WEBSOCKET = "websocket"
    STREAM = "stream"
    POLL = "poll"


# How long a welcome may take: a proxy may accept a connection and then hold what it carries. The last kind has as long
# as a hello has.
WELCOME_SECONDS = {TransportKind.WEBSOCKET: 5.0, TransportKind.STREAM: 5.0, TransportKind.POLL: 10.0}
# A connection that lasted this long after its welcome was a good one.
STABLE_SECONDS = 5.0
# So many in a row that did not last, and the next kind is tried.
MAX_STRIKES = 2
# When to try a better kind again, where it could not be opened: soon, for that may have been the server's; and where it
# was opened, and then carried nothing: later, for trying it costs. Twice as late each time.
UPWARD_SECONDS = 10.0
HELD_SECONDS = 300.0
MAX_UPWARD_SECONDS = 3600.0


class TransportFallback:
    """What has worked so far, on one client's way to its server.

    Args:
      kinds: what may be tried, best first.
    """

    def __init__(self, kinds: tuple[TransportKind, ...] = tuple(TransportKind)) -> None:
        if not kinds:
            raise ValueError("there has to be a transport to try")
        self._kinds = kinds
        self._rung = 0
        self._strikes = 0
        self._upward = UPWARD_SECONDS

    @property
    def kind(self) -> TransportKind:
        """The transport to try next."""
        return self._kinds[self._rung]

    @property
    def upward_seconds(self) -> float:
        """The seconds after a welcome at which to try a better transport; infinite if there is none."""
        climbable = self._rung > 0 and self._kinds[0] is TransportKind.WEBSOCKET  # a probe opens nothing else
        return self._upward if climbable else math.inf

    def ended(self, lasted: float | None, *, opened: bool = True) -> bool:
        """A connection has broken, so many seconds after its welcome, or without one.

        Args:
          opened: whether there was a connection, whatever came over it.

        Returns: whether to try another kind at once.
        """
        if opened and lasted is None and self._rung == 0:
            self._upward = max(self._upward, HELD_SECONDS)
        if lasted is not None and lasted >= STABLE_SECONDS:
            self._strikes = 0
            self._upward = self._upward if self._rung else UPWARD_SECONDS
            return False
        self._strikes = MAX_STRIKES if lasted is None else self._strikes + 1
        if self._strikes < MAX_STRIKES:
            return False
        self._strikes = 0
        self._rung = (self._rung + 1) % len(self._kinds)
        return self._rung > 0

    def note_probe(self) -> None:
        """A better kind is being tried: if it does not do, wait longer for the next time."""
        self._upward = min(2 * self._upward, MAX_UPWARD_SECONDS)

    def climb(self) -> None:
        """Use the best kind from now on."""
        self._rung = self._strikes = 0
