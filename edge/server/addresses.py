"""Find the address of a client, also behind proxies, and its peer: the address or network that the limits apply to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

# The peer of all requests for which a trusted proxy sent a client address that can't be parsed.
UNKNOWN = "unknown"


class Addresses:
    """Parses the addresses that sockets and proxies report.

    Args:
      proxies: the networks of the trusted proxies.

    Raises:
      ValueError: an item is not a network.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._read = lru_cache(4096)(self._find)

    def find(self, peer: str, forwarded: Sequence[str] = ()) -> str:
        """Return the address of the client of a request.

        Args:
          peer: the address at the other end of the socket. Unless it is a trusted proxy's, it is the client's address.
          forwarded: the addresses that the proxies report, see `Forwarded`. Each proxy appends the address from which
            it received the request. The last address that is not a trusted proxy's is the client's. A client can
            forge the addresses before that one.
        """
        if not forwarded or self._read(peer):
            return peer
        for said in reversed(forwarded):
            address = _bare(said)
            if known := self._read(address):
                return UNKNOWN if known == UNKNOWN else address
        return peer

    def is_proxy(self, address: str) -> bool:
        """True if an address belongs to a trusted proxy."""
        return bool(address) and not self._read(address)

    def peer_of(self, address: str) -> str:
        """Return the peer of an address: the IPv4 address, or the /64 of an IPv6 address.

        The result is empty for a trusted proxy and for an empty address.
        """
        return self._read(address) if address else ""

    def _find(self, said: str) -> str:
        try:
            address = ipaddress.ip_address(said.partition("%")[0])
        except ValueError:
            return UNKNOWN
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._proxies):
            return ""
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, 64), strict=False))
        return str(address)


def _bare(said: str) -> str:
    """Remove the quotes, brackets and port that some proxies add to an address."""
    said = said.strip().strip('"')
    if said.startswith("["):
        return said[1:].partition("]")[0]
    host, _, _ = said.partition(":")
    return host if said.count(":") == 1 else said
