"""Find the address of a client, also behind proxies, and the peer of that address.

The limits apply to the peer: an IPv4 address, or the /64 network of an IPv6 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

# All client addresses that cannot be parsed have this peer, so that the limits apply to these clients together.
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
          peer: the address at the other end of the socket. It is the client's address, unless it belongs to a trusted
            proxy.
          forwarded: the addresses that the proxies report, as in `Forwarded.addresses`. Each proxy appends the address
            from which it received the request. The last address that does not belong to a trusted proxy is the
            client's. A client can forge the addresses before its own.
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
        """Return the peer of an address: the IPv4 address, or the /64 network of an IPv6 address.

        The result is empty for a trusted proxy and for an empty address, because no limit applies to them. The result
        is `UNKNOWN` for an address that cannot be parsed.
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
