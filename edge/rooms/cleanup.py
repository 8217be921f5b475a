"""Clean-up blocks that may await although their task is cancelled, and the log of those that were cut short."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType

import trio

from ..aio.places import describe, is_authors

log: logging.Logger = logging.getLogger("edge.rooms")

# Blocks that close a resource at once if they are cancelled, such as `async with channel`, lose nothing.
CLOSING = ("aclose", "__aexit__")


class ShieldedCleanup:
    """A shielded scope with a deadline, for awaiting in a `finally` block. The log tells if the deadline cut it short.

    Args:
      until: the deadline, on Trio's clock.
      since: the time at which the task began to end, on Trio's clock.
      what: the name of the task in the log message; empty to log nothing.
    """

    def __init__(self, until: float, since: float, what: str, log_context: dict[str, object]) -> None:
        self._scope = trio.CancelScope(shield=True, deadline=until)
        self._seconds = until - since
        self._what = what
        self._log_context = log_context

    def __enter__(self) -> trio.CancelScope:
        return self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        caught = self._scope.__exit__(kind, exc, trace)
        if self._what and self._scope.cancelled_caught:
            text = "%s: its clean-up was cut short after %g s, in %s: see Room.cleanup_seconds"
            log.error(text, self._what, self._seconds, _place(exc), extra=self._log_context)
        return caught


def note_cut_short(what: str, exc: BaseException, log_context: dict[str, object]) -> None:
    """Log an await of a `finally` block that the cancellation of its task cut short.

    Such an await raises a second `trio.Cancelled`, during the handling of the first one.

    Args:
      what: the name of the task in the log message.
      exc: the exception that ended the task.
    """
    for cancelled in _leaves(exc):
        if isinstance(cancelled, trio.Cancelled) and isinstance(cancelled.__context__, trio.Cancelled):
            functions = [frame.f_code.co_name for frame, _ in traceback.walk_tb(cancelled.__traceback__)]
            if not any(name in CLOSING for name in functions):
                text = "%s: an await in a `finally` block was cut short, in %s: see `shielded_cleanup`"
                log.error(text, what, _place(cancelled), extra=log_context)
                return


def _leaves(exc: BaseException | None) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _leaves(each)
    elif exc is not None:
        yield exc


def _place(exc: BaseException | None) -> str:
    """Return the place in the author's code at which an exception was raised."""
    for leaf in _leaves(exc):
        for frame, line in reversed([*traceback.walk_tb(leaf.__traceback__)]):
            if is_authors(frame):
                return describe(frame.f_code, line)
    return "its last block"
