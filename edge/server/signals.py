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

    After the block, the server has stopped and the process ends soon. A further signal must not kill the process before
    its clean-up is complete.
    """
    early: list[int] = []  # the signals that arrive before the receiver is open
    for each in STOP:
        signal.signal(each, lambda number, _: early.append(number))
    with trio.open_signal_receiver(*STOP) as signals:
        for number in early:
            signal.raise_signal(number)
        yield signals
