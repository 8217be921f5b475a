"""Accept connections. If the process has no file descriptors left, answer and reject each new connection."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

log: logging.Logger = logging.getLogger("edge.server")

# `accept` fails with one of these error numbers if there is no file descriptor or no memory for another connection.
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# The number of spare file descriptors. Each connection that is being rejected uses one of them.
SPARE_FILES = 16
# The time limit of an `accept` with a spare file descriptor, in seconds. Also the pause before the next attempt if
# there is no spare file descriptor.
PAUSE_SECONDS = 0.1
# The minimum time between two warnings that no connection can be accepted, in seconds.
TELL_SECONDS = 60.0

Serve = Callable[[Any], Awaitable[None]]


class SpareFiles:
    """A reserve of open file descriptors. `lend` closes one of them, so that `accept` can open a connection instead."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._away = 0
        self._closed = False
        self._fill(SPARE_FILES)

    @property
    def lent(self) -> bool:
        """True if a spare file descriptor is lent, or could not be reopened."""
        return len(self._held) < SPARE_FILES

    @property
    def any_left(self) -> bool:
        """True if a spare file descriptor can be lent."""
        return bool(self._held)

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Close a spare file descriptor, so that a block can open another. Then refill. `any_left` must be true."""
        os.close(self._held.pop())
        self._away += 1
        try:
            yield
        finally:
            self._away -= 1
            self.refill()

    def refill(self) -> None:
        """Reopen the spare file descriptors that are not lent, as far as the system allows."""
        self._fill(SPARE_FILES - self._away)

    def close(self) -> None:
        """Close all spare file descriptors."""
        self._closed = True
        while self._held:
            os.close(self._held.pop())

    def _fill(self, count: int) -> None:
        while len(self._held) < count and not self._closed:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return


async def accept_from(listener: trio.abc.Listener[Any], nursery: trio.Nursery, serve: Serve, serve_full: Serve) -> None:
    """Accept connections until cancelled, then close the listener.

    Args:
      nursery: runs a task for each connection.
      serve: serves and closes a connection.
      serve_full: rejects and closes a connection that was accepted with a spare file descriptor. This function
        must be quick, and must not open file descriptors.

    Raises:
      OSError: the listener is broken.
    """
    spare, told_at = SpareFiles(), -TELL_SECONDS
    try:
        async with listener:
            while True:
                if spare.lent:  # an ordinary `accept` could take the descriptors of missing spare files
                    if spare.any_left:
                        await nursery.start(_tell_full, listener, serve_full, spare)
                    else:
                        await trio.sleep(PAUSE_SECONDS)
                        spare.refill()
                    continue
                try:
                    stream = await listener.accept()
                except OSError as exc:
                    if exc.errno not in FULL:
                        raise
                    if trio.current_time() >= told_at + TELL_SECONDS:
                        told_at = trio.current_time()
                        log.warning("no more connections can be accepted: %s", os.strerror(exc.errno))
                    await nursery.start(_tell_full, listener, serve_full, spare)
                else:
                    nursery.start_soon(serve, stream)
    finally:
        spare.close()


async def _tell_full(
    listener: trio.abc.Listener[Any], serve_full: Serve, spare: SpareFiles, *, task_status: trio.TaskStatus[None]
) -> None:
    """Accept the next connection with a spare file descriptor, and reject that connection."""
    with spare.lend():
        stream = None
        try:
            with trio.move_on_after(PAUSE_SECONDS):
                stream = await listener.accept()
        except OSError:  # other code has taken the file descriptor that `lend` closed
            await trio.sleep(PAUSE_SECONDS)
        task_status.started()
        if stream is not None:
            await serve_full(stream)
