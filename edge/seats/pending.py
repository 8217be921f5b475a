"""Connections that hold no seat yet."""

from __future__ import annotations

import attrs
import trio

from ..codes import Code
from ..errors import Refused


@attrs.define(eq=False)
class PendingConnection:
    """A connection that holds no seat, and whose request or hello is awaited. A full server drops the oldest of these
    to accept a new connection."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """The scope in which the request or the hello is awaited."""
    why: Refused = attrs.field(factory=lambda: Refused("the server is shutting down", Code.DRAINING))
    turned_away: bool = False
    """True once `turn_away` was called."""
    may_ask: bool = False
    """True if a draining server waits longer for the next request of this connection, to answer it with the goodbye of
    an HTTP transport."""

    def turn_away(self, why: Refused | None = None) -> None:
        """Stop waiting for the request or the hello. By default, the reason is that the server is shutting down."""
        self.why, self.turned_away = why or self.why, True
        self.scope.cancel(str(self.why))
