"""HTTP redirects, as a client receives them."""

from __future__ import annotations

from collections.abc import Mapping

# RFC 9110 section 15.4. The codes 300 and 304 are no redirects to one URL.
STATUSES = (301, 302, 303, 307, 308)


class Redirected(Exception):  # no error: the code that knows the URL follows the redirect or reports why not
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
