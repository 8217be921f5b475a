"""How an app shares its rooms with other servers: an option of `App`."""

from __future__ import annotations

import attrs

from .broker.broker import Broker
from .broker.memory import MemoryBroker

SCHEMES = ("ws://", "wss://", "http://", "https://")


def check_address(address: str) -> str:
    """Check the address of a server, and return it. An empty address is valid.

    Raises:
      ValueError: the address is not a ws, wss, http or https URL.
    """
    if address and not address.startswith(SCHEMES):
        raise ValueError(f"{address!r} is not a ws://, wss://, http:// or https:// address")
    return address


def _check_broker(cluster: Cluster, field: object, broker: object) -> None:
    if not isinstance(broker, Broker):
        raise TypeError(f"broker must be a Broker, such as RedisBroker(url), not {broker!r:.100}")


@attrs.frozen
class Cluster:
    """The servers that share rooms through a broker: each of them leads to every room.

    All servers need the same keys: set ``EDGE_SECRET``, or give each app the same `Sessions`.

    Raises:
      TypeError: the broker is not a `Broker`.
      ValueError: the address is not a ws, wss, http or https URL.
    """

    broker: Broker = attrs.field(factory=MemoryBroker, validator=_check_broker)
    """The store and message bus of the servers, such as ``RedisBroker(url)``. By default, there is one server."""

    address: str = attrs.field(default="", kw_only=True, converter=check_address)
    """The address of this one server for clients, such as ``"wss://one.example.org"``. Clients that reach another
    server for a room of this one are sent here. Without an address, the other server relays their frames."""

    balance: bool = attrs.field(default=True, kw_only=True)
    """True if persistent rooms move to servers that have less to do."""
