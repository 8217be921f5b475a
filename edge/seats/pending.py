"""Connections that hold no seat yet."""

from __future__ import annotations

import attrs
import trio

from ..codes import Code
from ..errors import Refused


@attrs.define(eq=False)
class PendingConnection:
    """A connection that holds no seat, while the server waits for its request or hello.

    A full server drops the oldest pending connection to accept a new connection.
    """

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """The cancel scope in which the server waits for the request or the hello."""
    _why: Refused | None = None
    turned_away: bool = False
    """True once `turn_away` was called."""
    may_ask: bool = False
    """True if a draining server waits two seconds longer for the next request of this connection, because that request
    may fetch the goodbye of an HTTP transport."""

    def turn_away(self, why: Refused | None = None) -> None:
        """Stop waiting for the request or the hello. By default, the reason is that the server is shutting down."""
        self._why, self.turned_away = why or self._why, True
        self.scope.cancel(str(self.why))

    @property
    def why(self) -> Refused:
        """The reason why the server no longer waits."""
        return self._why or Refused("the server is shutting down", Code.DRAINING)
