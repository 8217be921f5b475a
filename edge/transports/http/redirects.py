"""Recognize the HTTP redirects that a client receives."""

from __future__ import annotations

from collections.abc import Mapping

# The status codes of redirects (RFC 9110 section 15.4). The codes 300 and 304 do not redirect to a single URL.
STATUSES = (301, 302, 303, 307, 308)


class Redirected(Exception):  # not an error: the caller follows the redirect, or reports an error
    """The response was a redirect."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"HTTP {status} to {location[:300]!r}")
        self.location = location


def check_redirect(status: int, headers: Mapping[str, str]) -> None:
    """Raise `Redirected` if a response is a redirect.

    Args:
      headers: the headers of the response, by lower-case name.

    Raises:
      Redirected: the response is a redirect.
    """
    if status in STATUSES and (location := headers.get("location", "")):
        raise Redirected(status, location)
