"""Open the listeners of a server, on its own port or on one that processes of this machine share."""

from __future__ import annotations

import socket

import trio

# How many connections may wait to be accepted: as many as the system allows.
BACKLOG = 65_535


async def open_listeners(host: str, port: int, *, shared: bool) -> list[trio.SocketListener]:
    """Listen on all addresses of a host.

    Args:
      port: 0 for any free one.
      shared: whether other processes may listen there, too, with SO_REUSEPORT: the kernel gives each a part of the
        connections.

    Raises:
      OSError: the port is taken, or this system shares none.
    """
    if not shared:
        return await trio.open_tcp_listeners(port, host=host)
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners = []
    for family, kind, protocol, _, address in found:
        opened = trio.socket.from_stdlib_socket(reserve(family, kind, protocol, address))
        opened.listen(BACKLOG)
        listeners.append(trio.SocketListener(opened))
    return listeners


def reserve(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    """A socket that is bound to a port which others may share, and does not listen yet.

    Raises:
      OSError: the port is taken by somebody who does not share it, or this system shares none.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("this system shares no ports")
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    except BaseException:
        opened.close()
        raise
    return opened
