"""A server that accepts connections while its process has no free file descriptors.

These tests detect a server that logs the error of its listener again and again, and neither serves nor refuses any
client.
"""

from __future__ import annotations

import errno
import logging
import os

import pytest
import trio

from edge.server.accepting import SPARE_FILES, accept_from


class Crowd(trio.abc.Listener[trio.abc.Stream]):
    """A listener in a process whose only free file descriptors are those that the server holds as spares."""

    def __init__(self, waiting: int, fault: int = errno.EMFILE) -> None:
        self.waiting = waiting
        self.files = SPARE_FILES
        self.fault = fault
        self.faults = 0
        self.closed = False
        self.more = trio.Event()

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.waiting:
            self.more = trio.Event()
            await self.more.wait()
        if not self.files:
            self.faults += 1
            raise OSError(self.fault, os.strerror(self.fault))
        self.files -= 1
        self.waiting -= 1
        return trio.testing.memory_stream_pair()[0]

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def count_files(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Let the spare files use the same supply of descriptors as the crowd's connections, and return the set of open
    spare files."""
    real_open, real_close = os.open, os.close
    held: set[int] = set()

    def open_spare(path: str, flags: int) -> int:
        if not crowd.files:
            raise OSError(errno.EMFILE, "none left")
        crowd.files -= 1
        held.add(opened := real_open(path, flags))
        return opened

    def close_spare(opened: int) -> None:
        held.discard(opened)
        crowd.files += 1
        real_close(opened)

    monkeypatch.setattr("edge.server.accepting.os.open", open_spare)
    monkeypatch.setattr("edge.server.accepting.os.close", close_spare)
    return held


async def test_without_files_connections_are_told_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without free descriptors, the server uses the spare ones to refuse clients one by one, and logs one line in all.
    Later clients are served."""
    crowd = Crowd(40)
    held = count_files(crowd, monkeypatch)
    told, served = 0, 0

    async def serve(stream: object) -> None:
        nonlocal served
        served += 1

    async def serve_full(stream: object) -> None:
        nonlocal told
        await trio.sleep(0.2)
        told += 1
        crowd.files += 1  # the refused connection is closed

    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
        accepting.start_soon(accept_from, crowd, connections, serve, serve_full)
        await trio.sleep(5)
        assert (told, served, crowd.waiting) == (40, 0, 0)
        assert len(held) == SPARE_FILES
        crowd.waiting, crowd.files = 3, 3
        crowd.more.set()
        await trio.sleep(0.2)
        accepting.cancel_scope.cancel()
        assert (told, served) == (40, 3)
    assert crowd.closed
    assert held == set()
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned.getMessage() == "no more connections can be accepted: Too many open files"
    assert warned.exc_info is None
    assert crowd.faults < 5


async def test_a_listener_that_breaks_is_an_error() -> None:
    """Any other error of the listener is raised, because the error would not end if the server waited."""

    async def serve(stream: object) -> None:
        pass

    crowd = Crowd(1, errno.EBADF)
    crowd.files = 0
    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await accept_from(crowd, nursery, serve, serve)
    assert crowd.closed
