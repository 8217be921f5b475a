"""Which names a server answers for, and which sites' pages may connect.

A page of any site can have its own name resolve to this server's address (DNS rebinding). Its requests then come with
an `Origin` and a `Host` that agree, so only a list of names tells them from the server's own pages.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import attrs

# RFC 3986 section 3.2.2, as browsers write it.
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s/@,:\[\]?#]+?)\.?(?::(?P<port>\d{0,5}))?", re.IGNORECASE)
MAX_PORT = 65_535
DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Origin:
    """The origin of a page (RFC 6454 section 4)."""

    scheme: str
    name: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read an origin; case, a default port and a slash at the end make no difference.

        Raises:
          ValueError: it is not one.
        """
        scheme, separator, host = text.lower().partition("://")
        found = HOST.fullmatch(host.removesuffix("/"))
        known = scheme in DEFAULT_PORTS or (found is not None and found["port"])
        if not separator or found is None or not known or "*" in found["name"] or int(found["port"] or 0) > MAX_PORT:
            raise ValueError(f"{text!r} is not an origin: a scheme and a host, such as https://example.org")
        return cls(scheme, found["name"], int(found["port"] or DEFAULT_PORTS[scheme]))

    def is_of(self, host: str, scheme: str) -> bool:
        """True if this is the origin of pages at a host, which is asked by this scheme. A page that came over plain
        HTTP, and that anybody on the way may have changed, is not of the same site as one over HTTPS."""
        found = HOST.fullmatch(host.lower())
        if found is None or (self.scheme, scheme) == ("http", "https"):
            return False
        port = int(found["port"]) if found["port"] else DEFAULT_PORTS.get(self.scheme)
        return (self.name, self.port) == (found["name"], port)


class Hosts:
    """The names that a server answers for.

    Args:
      names: such as ``"example.org"``; ``"*.example.org"`` for every name below, ``"*"`` for any. None for the names of
        this machine if only this machine can connect, and else for any.
      bound: the address on which the server listens.

    Raises:
      ValueError: one is not a name.
    """

    def __init__(self, names: Iterable[str] | None, *, bound: str = "") -> None:
        if isinstance(names, str):
            raise TypeError("hosts is a list of them")
        self._local = names is None and bool(bound) and is_loopback(bound)
        self._names = {name.lower().removesuffix(".") for name in names or ()}
        for name in self._names:
            found = HOST.fullmatch(name)
            if found is None or found["port"]:
                raise ValueError(f"{name!r} is not the name of a host, without a scheme and a port")
        self.any = "*" in self._names or (names is None and not self._local)
        """True if any name will do."""

    def allow(self, host: str) -> bool:
        """True if the server answers a request with this `Host`."""
        if self.any:
            return True
        found = HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found["name"]
        if self._local:
            return is_loopback(name.strip("[]")) or name.endswith(".localhost")
        parents = (name[at:] for at, letter in enumerate(name) if letter == ".")
        return name in self._names or any(f"*{parent}" in self._names for parent in parents)


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """True if only this machine can connect to a server that listens on this host, or reach anything by this name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
