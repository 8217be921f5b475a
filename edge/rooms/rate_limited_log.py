"""A rate-limited log for records that clients cause and that could fill a disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping

import trio

from ..protocol.pace import Pace

# The seconds for which a logged subject is not logged again.
QUIET_SECONDS = 60.0
# The maximum number of records a second in the long run, and in one burst.
RECORDS_PER_SECOND, RECORDS_BURST = 1.0, 20
# The maximum number of subjects that are remembered as logged.
MAX_KNOWN = 1000


class RateLimitedLog:
    """Logs at INFO: the same subject once a minute, and all subjects together at a limited rate.

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
        """Log a record, or count it.

        Args:
          thing: the subject. Records with the same subject are logged once a minute.
          text: the text of the record, followed by its arguments.
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
    """Escape line breaks and control characters: clients choose the text, and must not forge records."""
    if not isinstance(arg, str) or arg.isprintable():
        return arg
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in arg)
