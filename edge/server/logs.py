"""Format log records as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

# The extra attributes of edge's own log records.
ABOUT = ("room", "seat", "session")


class JsonFormatter(logging.Formatter):
    """Formats each log record as one line of JSON.

    The keys are ``time`` (UTC), ``level``, ``logger`` and ``message``, and if known ``room``, ``seat`` and ``session``.
    The key ``detail`` has the further lines of the message, and a traceback, if there are any.

    Set this formatter on any `logging.Handler`. ``edge run --log json`` uses it.
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
