"""The interface of connectors, with which a client opens connections to its server."""

from __future__ import annotations

import abc
from contextlib import AbstractAsyncContextManager

import trio

from ..transports.transport import Transport


class Connector(abc.ABC):
    """Opens the connections of one client."""

    @property
    @abc.abstractmethod
    def welcome_seconds(self) -> float:
        """The seconds within which the welcome of the next connection must come."""

    @abc.abstractmethod
    def dial(self) -> AbstractAsyncContextManager[Transport]:
        """Open a connection, which is closed at the end of the block.

        Raises:
          OSError, trio.BrokenResourceError: no connection can be opened now.
          RemoteProtocolError: the server refused the connection. Its `code` is the reason.
        """

    def send_to(self, where: str) -> None:  # noqa: B027  # optional: some connectors have only one address
        """Dial `where` from now on, an address that a server sent. If `where` is empty, dial the original address."""

    def ended(self, lasted: float | None) -> bool:
        """Record that a connection broke without a known cause.

        Args:
          lasted: the seconds from the welcome to the end of the connection; None without a welcome.

        Returns: True if the client should dial again at once, because there is another transport to try.
        """
        return False

    async def wait_better(self) -> None:
        """Wait until a better transport than the current one is available. By default, wait forever."""
        await trio.sleep_forever()
