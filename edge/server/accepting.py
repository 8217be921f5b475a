"""Accepting connections, also when this process has no files left."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

log = logging.getLogger("edge.server")

# What `accept` says when there is no file or no memory for another connection.
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# How many connections can be told at a time that there is none.
SPARE_FILES = 16
# How long to wait if that is not possible either.
PAUSE_SECONDS = 0.1
# How often the log says so.
TELL_SECONDS = 60.0

Serve = Callable[[Any], Awaitable[None]]


class SpareFiles:
    """Files that are held so that there are some when all others are taken."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._away = 0
        self._closed = False
        self._fill(SPARE_FILES)

    @property
    def lent(self) -> bool:
        """True if one is lent, or could not be taken back."""
        return len(self._held) < SPARE_FILES

    @property
    def any_left(self) -> bool:
        """True if one can be lent."""
        return bool(self._held)

    @contextmanager
    def lend(self) -> Iterator[None]:
        """One file fewer is held, while a block runs. There must be one."""
        os.close(self._held.pop())
        self._away += 1
        try:
            yield
        finally:
            self._away -= 1
            self.refill()

    def refill(self) -> None:
        """Take back what can be taken back."""
        self._fill(SPARE_FILES - self._away)

    def close(self) -> None:
        """Hold none any more."""
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
      nursery: where connections are served.
      serve: serves and closes one.
      serve_full: the same for one that comes when there are no files left. It must be quick, and open none.

    Raises:
      OSError: the listener is broken.
    """
    spare, told_at = SpareFiles(), -TELL_SECONDS
    try:
        async with listener:
            while True:
                if spare.lent:  # what they have is theirs to give back, and not for others to take
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
    """Accept the next connection with a spare file, and tell it that there is no space."""
    with spare.lend():
        stream = None
        try:
            with trio.move_on_after(PAUSE_SECONDS):
                stream = await listener.accept()
        except OSError:  # somebody else has taken the file
            await trio.sleep(PAUSE_SECONDS)
        task_status.started()
        if stream is not None:
            await serve_full(stream)
