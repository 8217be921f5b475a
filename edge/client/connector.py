"""The seam between a client and whatever connects it."""

from __future__ import annotations

import abc
from contextlib import AbstractAsyncContextManager

import trio

from ..transports.transport import Transport


class Connector(abc.ABC):
    """How a client reaches its server."""

    @property
    @abc.abstractmethod
    def welcome_seconds(self) -> float:
        """The seconds that the next connection may take until its welcome."""

    @abc.abstractmethod
    def dial(self) -> AbstractAsyncContextManager[Transport]:
        """A connection, while a block runs.

        Raises:
          OSError, trio.BrokenResourceError: there is none now.
          RemoteProtocolError: there will be none; `code` says why.
        """

    def send_to(self, where: str) -> None:  # noqa: B027  # who has only one way goes that way
        """The server said where the room is: dial there; or, if it did not say, where one began."""

    def ended(self, lasted: float | None) -> bool:
        """The connection has broken, so many seconds after its welcome, or without one; nobody has said why.

        Returns: whether to dial again at once, because there is another way to try.
        """
        return False

    async def wait_better(self) -> None:
        """Wait until there is a better connection to be had than the one there is."""
        await trio.sleep_forever()
