"""Answers that say where else to ask."""

from __future__ import annotations

from collections.abc import Mapping

# RFC 9110 section 15.4: 304 and 300 name no other place to ask at once.
STATUSES = (301, 302, 303, 307, 308)


class Redirected(Exception):  # whoever knows the address follows it, or says why not
    """The answer was a redirect."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"HTTP {status} to {location[:300]!r}")
        self.location = location


def check_redirect(status: int, headers: Mapping[str, str]) -> None:
    """Look whether a response is a redirect.

    Args:
      headers: by lower-case name.

    Raises:
      Redirected: it is.
    """
    if status in STATUSES and (location := headers.get("location", "")):
        raise Redirected(status, location)
