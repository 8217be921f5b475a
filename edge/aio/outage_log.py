"""Logs each outage between servers once when it begins, and once when it ends."""

from __future__ import annotations

import logging

log: logging.Logger = logging.getLogger("edge.servers")

# The seconds that callers wait before they repeat a failed operation.
AGAIN_SECONDS = 0.1


class OutageLog:
    """A log of one kind of outage: one line when an outage begins, and one line when it ends.

    Args:
      what: a sentence for the log that describes the effect of the outage.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.on: bool = False
        """True during an outage."""

    def note(self, why: object) -> None:
        """Record a failure and its reason. Log the failure if no outage was recorded before."""
        if not self.on:
            self.on = True
            log.warning("%s: %s", self._what, why)

    def over(self) -> None:
        """Record a success. Log the end of the outage if there was one."""
        if self.on:
            self.on = False
            log.warning("this outage has ended: %s", self._what)
