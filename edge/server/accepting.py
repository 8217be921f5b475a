"""Accept connections, and reject them with an answer when the process has no file descriptors left."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

log: logging.Logger = logging.getLogger("edge.server")

# Errors of `accept` if there is no file descriptor or no memory for another connection.
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# The number of spare file descriptors, which is the maximum number of connections that are rejected at the same time.
SPARE_FILES = 16
# Seconds to wait before the next attempt to accept, and for an `accept` with a spare file descriptor.
PAUSE_SECONDS = 0.1
# Seconds between two warnings that no connection can be accepted.
TELL_SECONDS = 60.0

Serve = Callable[[Any], Awaitable[None]]


class SpareFiles:
    """A reserve of open file descriptors. One is closed if `accept` needs a descriptor and the process has no other."""

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
        """Free one spare file descriptor while a block runs. `any_left` must be true."""
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
      serve_full: rejects and closes a connection that was accepted with a spare file descriptor. It must be quick, and
        must not open file descriptors.

    Raises:
      OSError: the listener is broken.
    """
    spare, told_at = SpareFiles(), -TELL_SECONDS
    try:
        async with listener:
            while True:
                if spare.lent:  # no ordinary accept until all spare files are back: it could take their descriptors
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
    """Accept the next connection with a spare file descriptor, and reject it."""
    with spare.lend():
        stream = None
        try:
            with trio.move_on_after(PAUSE_SECONDS):
                stream = await listener.accept()
        except OSError:  # other code has taken the freed file descriptor
            await trio.sleep(PAUSE_SECONDS)
        task_status.started()
        if stream is not None:
            await serve_full(stream)
