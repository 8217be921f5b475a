"""The choice of a transport: WebSocket, then an HTTP stream, then HTTP polling.

A transport works if the welcome comes through it. A client keeps its choice, and probes better transports later. This
module has no sockets and no clock: times are arguments. `edge.js` has the same rules and numbers.
"""

from __future__ import annotations

import enum
import math


class TransportKind(enum.StrEnum):
    """The transports, best first."""

    WEBSOCKET = "websocket"
    STREAM = "stream"
    POLL = "poll"


# The seconds within which the welcome must come, because a proxy may accept a connection and then withhold its data.
# Polling, the last kind, has as much time as the default of `Limits.hello_seconds`.
WELCOME_SECONDS = {TransportKind.WEBSOCKET: 5.0, TransportKind.STREAM: 5.0, TransportKind.POLL: 10.0}
# A connection that lasted this many seconds after its welcome proves that its transport works.
STABLE_SECONDS = 5.0
# The client tries the next kind after this many connections in a row that ended before STABLE_SECONDS, or after one
# connection without a welcome.
MAX_STRIKES = 2
# The seconds until the client probes a better kind. If the better kind could not be opened, the first wait is
# UPWARD_SECONDS, because the server may have been down. If it was opened but brought no welcome, the first wait is
# HELD_SECONDS, because a failed switch is expensive. Each further wait is twice as long, up to MAX_UPWARD_SECONDS.
UPWARD_SECONDS = 10.0
HELD_SECONDS = 300.0
MAX_UPWARD_SECONDS = 3600.0


class TransportFallback:
    """Chooses the transport of one client. The choice depends on the ends of the client's earlier connections.

    Args:
      kinds: the transports that may be tried, best first.

    Raises:
      ValueError: `kinds` is empty.
    """

    def __init__(self, kinds: tuple[TransportKind, ...] = tuple(TransportKind)) -> None:
        if not kinds:
            raise ValueError("no transport to try is given: name at least one")
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
        """The seconds after a welcome until a better transport is probed; infinite if there is none."""
        climbable = self._rung > 0 and self._kinds[0] is TransportKind.WEBSOCKET  # a probe opens only WebSockets
        return self._upward if climbable else math.inf

    def ended(self, lasted: float | None, *, opened: bool = True) -> bool:
        """Record that a connection broke.

        Args:
          lasted: the seconds from the welcome to the end of the connection; None without a welcome.
          opened: True if the connection was opened, even if it carried no data.

        Returns: True if the client should try another kind at once.
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
        """Record that the client probes a better kind now. Double the wait before the next probe."""
        self._upward = min(2 * self._upward, MAX_UPWARD_SECONDS)

    def climb(self) -> None:
        """Use the best kind from now on."""
        self._rung = self._strikes = 0
