"""Receive SIGTERM and SIGINT, the signals that stop a server."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio

STOP = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def open_stop_receiver() -> Iterator[AsyncIterator[int]]:
    """Receive SIGTERM and SIGINT while a block runs. After the block these signals are ignored.

    The server has stopped by then and the process is about to end: a signal must not kill the process before.
    """
    early: list[int] = []
    for each in STOP:
        signal.signal(each, lambda number, _: early.append(number))
    with trio.open_signal_receiver(*STOP) as signals:
        for number in early:
            signal.raise_signal(number)
        yield signals
