"""A rate-limited log for records that clients can cause. Without a limit, such records could fill a disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping

import trio

from ..protocol.pace import Pace

# After a record is logged, records with the same subject are left out for this many seconds.
QUIET_SECONDS = 60.0
# The maximum number of records: a second in the long run, and in one burst.
RECORDS_PER_SECOND, RECORDS_BURST = 1.0, 20
# The maximum number of subjects that are stored as logged. At the maximum, all are deleted to limit the memory.
MAX_KNOWN = 1000


class RateLimitedLog:
    """A log at level INFO that logs each subject at most once a minute, and all subjects together at a limited rate.

    A record contains the number of records that were left out before it. Unprintable characters in the arguments of a
    record are escaped.

    Args:
      log: the logger that writes the records.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._pace = Pace(RECORDS_PER_SECOND, RECORDS_BURST)
        self._known: dict[Hashable, float] = {}
        self._left_out = 0

    def note(self, thing: Hashable, text: str, *args: object, log_context: Mapping[str, object]) -> None:
        """Log a record, or only count the record if it exceeds the rate.

        Args:
          thing: the subject of the record.
          text: the text of the record, with placeholders for `args`.
          log_context: further attributes of the record.
        """
        if not self._log.isEnabledFor(logging.INFO):
            return
        now = trio.current_time()
        if now < self._known.get(thing, -math.inf) + QUIET_SECONDS or not self._pace.allows(now):
            self._left_out += 1
            return
        self._pace.take(now)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[thing] = now
        if self._left_out:
            text, args = f"{text} (%d earlier records were left out)", (*args, self._left_out)
            self._left_out = 0
        self._log.info(text, *(_in_one_line(arg) for arg in args), extra=dict(log_context))


def _in_one_line(arg: object) -> object:
    """Escape line breaks and control characters, so that clients, which choose the text, cannot forge records."""
    if not isinstance(arg, str) or arg.isprintable():
        return arg
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in arg)
