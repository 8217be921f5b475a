"""SIGTERM and SIGINT: what tells a server to stop."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio

STOP = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def open_stop_receiver() -> Iterator[AsyncIterator[int]]:
    """The signals that come while a block runs. After it they are ignored, for the process is about to end: one that
    came just then would kill it, and it had done what it was told."""
    early: list[int] = []
    for each in STOP:
        signal.signal(each, lambda number, _: early.append(number))
    with trio.open_signal_receiver(*STOP) as signals:
        for number in early:
            signal.raise_signal(number)
        yield signals
