"""The log: records as lines that programs read, and troubles that are told once."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

# Of what happens between servers.
log = logging.getLogger("edge.servers")

# What edge's own records may be about, besides what every record has.
ABOUT = ("room", "seat", "session")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; where known, room, seat, session; and what further
    lines the message had, such as a traceback, as detail.

    For any handler of the standard library's; ``edge run --log json`` uses it.
    """

    def format(self, record: logging.LogRecord) -> str:
        message, _, detail = record.getMessage().partition("\n")
        if record.exc_info:
            detail = "\n".join(filter(None, (detail, self.formatException(record.exc_info))))
        if record.stack_info:
            detail = "\n".join(filter(None, (detail, record.stack_info)))
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **{name: getattr(record, name) for name in ABOUT if hasattr(record, name)},
            **({"detail": detail} if detail else {}),
        }
        return json.dumps(line, default=repr)


class Trouble:
    """Tells the log of a trouble when it begins and when it is over, not each time that it shows.

    Args:
      what: what can't be done then.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.on = False
        """Whether it is there."""

    def note(self, why: object) -> None:
        """It shows."""
        if not self.on:
            self.on = True
            log.warning("%s: %s", self._what, why)

    def over(self) -> None:
        """It does not."""
        if self.on:
            self.on = False
            log.warning("%s: that is over", self._what)
