"""Call a function after each step of a task and of the tasks that it starts, directly or through others.

A step is the code that a task runs between two checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import trio

_note: ContextVar[Callable[[], object] | None] = ContextVar("edge_note_step", default=None)


class _Steps(trio.abc.Instrument):
    """The instrument of a Trio run that has watched tasks."""

    def __init__(self) -> None:
        self.users = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        note = task.context.get(_note)
        if note is not None:
            note()


_instrument: trio.lowlevel.RunVar[_Steps | None] = trio.lowlevel.RunVar("edge_steps", None)


@contextmanager
def watch_steps() -> Iterator[None]:
    """Let `note_steps` have an effect while a block runs."""
    instrument = _instrument.get()
    if instrument is None:
        instrument = _Steps()
        _instrument.set(instrument)
    if not instrument.users:
        trio.lowlevel.add_instrument(instrument)
    instrument.users += 1
    try:
        yield
    finally:
        instrument.users -= 1
        if not instrument.users:
            trio.lowlevel.remove_instrument(instrument)


def note_steps(note: Callable[[], object] | None) -> None:
    """Call a function after each step of the current task, and of the tasks that it starts from now on.

    Args:
      note: a function that never raises an error and never waits; None to call no function any more.
    """
    _note.set(note)
