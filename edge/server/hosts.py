"""The host names that a server answers for, and the origins of pages.

Any site can make its own name resolve to this server's address (DNS rebinding). The requests of that site's pages then
have an `Origin` and a `Host` that match. Only a list of host names distinguishes these requests from those of the
server's own pages.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import attrs

# A host and its port, as browsers write them (RFC 3986 section 3.2.2).
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s/@,:\[\]?#]+?)\.?(?::(?P<port>\d{0,5}))?", re.IGNORECASE)
# The host of an origin, as browsers send it: they write other letters in punycode.
NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# The scheme of an origin. Apps and browser extensions have their own ones. No browser sends an origin with the others.
SCHEME = re.compile(r"(?!(?:about|blob|data|file|ftp|javascript|ws|wss)$)[a-z][a-z0-9+.-]*")
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
        """Parse an origin. Case, a default port and a final slash make no difference.

        Raises:
          ValueError: the text is not an origin.
        """
        scheme, separator, host = text.lower().partition("://")
        found = HOST.fullmatch(host.removesuffix("/"))
        name = _normal_name(found["name"]) if found is not None else ""
        if not (separator and name and found and SCHEME.fullmatch(scheme)) or int(found["port"] or 0) > MAX_PORT:
            raise ValueError(f"{text!r} is not an origin: write a scheme and a host, such as https://example.org")
        return cls(scheme, name, int(found["port"] or DEFAULT_PORTS.get(scheme, 0)))

    def is_of(self, host: str, scheme: str) -> bool:
        """Return true if this is the origin of the server's own pages, for a request with this `Host` and this scheme.

        A page that was loaded over plain HTTP does not belong to the same host over HTTPS, because anyone on the
        network path may have changed the page.
        """
        found = HOST.fullmatch(host.lower())
        if found is None or (self.scheme, scheme) == ("http", "https"):
            return False
        port = int(found["port"]) if found["port"] else DEFAULT_PORTS.get(self.scheme)
        return (self.name, self.port) == (found["name"], port)


class Hosts:
    """The host names that a server answers for.

    Args:
      names: such as ``"example.org"``; ``"*.example.org"`` for all its subdomains, ``"*"`` for any name. None means
        loopback names, such as ``localhost``, if `bound` is a loopback address, and otherwise any name.
      bound: the address on which the server listens.

    Raises:
      TypeError: `names` is a string.
      ValueError: an item is not a host name.
    """

    def __init__(self, names: Iterable[str] | None, *, bound: str = "") -> None:
        if isinstance(names, str):
            raise TypeError("hosts must be a list of host names, not a string")
        self._local = names is None and bool(bound) and is_loopback(bound)
        self._names = {name.lower().removesuffix(".") for name in names or ()}
        for name in self._names:
            found = HOST.fullmatch(name)
            if found is None or found["port"]:
                raise ValueError(f"{name!r} is not a host name: leave out the scheme and the port, as in example.org")
        self.any: bool = "*" in self._names or (names is None and not self._local)
        """True if the server answers for every host name."""

    def allow(self, host: str) -> bool:
        """Return true if the server answers requests with this `Host`."""
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


def is_private(host: str) -> bool:
    """Return true if no site can have this host: it is an IP address, or a name without a dot.

    So a request for this host does not come from a page of a site that makes its name resolve to this server.
    """
    found = HOST.fullmatch(host.lower())
    if found is None:
        return False
    try:
        ipaddress.ip_address(found["name"].strip("[]"))
    except ValueError:
        return "." not in found["name"]
    return True


def _normal_name(name: str) -> str:
    """Return the host of an origin as browsers write it; empty if no browser writes such a host."""
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        is_name = NAME.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()
        return name if is_name else ""
    return f"[{address.compressed}]" if address.version == 6 else str(address)


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Return true if this host is a loopback address or `localhost`, so that only this machine can connect to it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
