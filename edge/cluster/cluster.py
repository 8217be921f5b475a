"""The option of `App` for sharing rooms with other servers."""

from __future__ import annotations

import attrs

from ..aio.options import check_option
from .broker.broker import Broker
from .broker.memory import MemoryBroker

SCHEMES = ("ws://", "wss://", "http://", "https://")


def check_address(address: str) -> str:
    """Check the address of a server, and return it. An empty address is valid.

    Raises:
      TypeError: the address is not text.
      ValueError: the address is not a ws, wss, http or https URL.
    """
    check_option("the address of a server", address, str, example='a URL such as "wss://one.example.org"')
    if address and not address.startswith(SCHEMES):
        raise ValueError(f"{address!r} is not a ws://, wss://, http:// or https:// address")
    return address


def _check_broker(cluster: Cluster, field: object, broker: object) -> None:
    if not isinstance(broker, Broker):
        raise TypeError(f"broker must be a Broker, such as RedisBroker(url), not {broker!r:.100}")


def _check_balance(cluster: Cluster, field: object, balance: object) -> None:
    check_option("Cluster.balance", balance, bool, example="True or False")


@attrs.frozen
class Cluster:
    """The option of `App` to share rooms with other servers through a broker. Clients reach every room on any server.

    All servers need the same secret for session keys: set ``EDGE_SECRET``, or give each app the same `Sessions`.

    Raises:
      TypeError: the broker is not a `Broker`, or another argument has the wrong type.
      ValueError: the address is not a ws, wss, http or https URL.
    """

    broker: Broker = attrs.field(factory=MemoryBroker, validator=_check_broker)
    """The store and message bus of the servers, such as ``RedisBroker(url)``. The default broker serves one server."""

    address: str = attrs.field(default="", kw_only=True, converter=check_address)
    """The URL at which clients reach this server and no other, such as ``"wss://one.example.org"``. If a client asks
    another server for a room of this server, the other server refers the client to this URL. If the URL is empty, the
    other server relays the client's frames."""

    balance: bool = attrs.field(default=True, kw_only=True, validator=_check_balance)
    """True to move persistent rooms to servers with less load."""
