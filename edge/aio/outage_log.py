"""Outages between servers, logged once each."""

from __future__ import annotations

import logging

log = logging.getLogger("edge.servers")

# How long to wait until something that failed is tried again.
AGAIN_SECONDS = 0.1


class OutageLog:
    """Logs an outage once when it begins and once when it is over.

    Args:
      what: what can't be done meanwhile.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.on = False
        """True during the outage."""

    def note(self, why: object) -> None:
        """Something failed, for this reason."""
        if not self.on:
            self.on = True
            log.warning("%s: %s", self._what, why)

    def over(self) -> None:
        """It works again."""
        if self.on:
            self.on = False
            log.warning("this is over: %s", self._what)
