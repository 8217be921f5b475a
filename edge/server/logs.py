"""The log, as lines that programs read."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

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
