"""Addresses of clients, also behind proxies, and the peers to which they belong."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

# Whoever comes through a proxy of ours that says for whom in words we can't read.
UNKNOWN = "unknown"


class Addresses:
    """Reads addresses, as sockets and proxies tell them.

    Args:
      proxies: the networks of our proxies.

    Raises:
      ValueError: one is no network.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._read = lru_cache(4096)(self._find)

    def find(self, peer: str, forwarded: Sequence[str] = ()) -> str:
        """The address that somebody comes from; of what our proxies carry, what they say.

        Args:
          peer: the other end of the socket.
          forwarded: what the proxies of a request say, see `Forwarded`. Each adds whom it heard from at the end, so the
            last that is no proxy of ours is who it was; what stands before that is hearsay.
        """
        if not forwarded or self._read(peer):
            return peer
        for said in reversed(forwarded):
            address = _bare(said)
            if known := self._read(address):
                return UNKNOWN if known == UNKNOWN else address
        return peer

    def is_proxy(self, address: str) -> bool:
        """True if an address is one of our proxies'."""
        return bool(address) and not self._read(address)

    def peer_of(self, address: str) -> str:
        """For whom an address stands: itself, or its /64; empty for a proxy of ours, and where there is none."""
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
    """An address without its quotes, brackets and port, which some proxies add."""
    said = said.strip().strip('"')
    if said.startswith("["):
        return said[1:].partition("]")[0]
    host, _, _ = said.partition(":")
    return host if said.count(":") == 1 else said
