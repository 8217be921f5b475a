"""Log an outage between servers once when it begins, and once when it ends."""

from __future__ import annotations

import logging

log: logging.Logger = logging.getLogger("edge.servers")

# Seconds until a failed operation is tried again.
AGAIN_SECONDS = 0.1


class OutageLog:
    """A log of one kind of outage: one line when an outage begins, and one line when it ends.

    Args:
      what: a sentence for the log about the effect of the outage.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.on: bool = False
        """True during the outage."""

    def note(self, why: object) -> None:
        """Note a failure and its reason. Log it if it begins an outage."""
        if not self.on:
            self.on = True
            log.warning("%s: %s", self._what, why)

    def over(self) -> None:
        """Note a success. Log it if it ends an outage."""
        if self.on:
            self.on = False
            log.warning("this outage is over: %s", self._what)
