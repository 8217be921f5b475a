"""Open the listeners of a server, on a port of its own or on a port that several processes share."""

from __future__ import annotations

import socket

import trio

# The maximum number of connections that wait to be accepted. The system reduces this to its own maximum.
BACKLOG = 65_535


async def open_listeners(host: str, port: int, *, shared: bool) -> list[trio.SocketListener]:
    """Listen on all addresses of a host.

    Args:
      port: the TCP port; 0 for any free port.
      shared: true to let other processes listen on the same port with SO_REUSEPORT. The kernel distributes the
        connections among the processes.

    Raises:
      OSError: another process uses the port, or `shared` is true on a system without SO_REUSEPORT.
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
    """Bind a socket to a port that other processes may share. The socket does not listen yet.

    Raises:
      OSError: another process uses the port without SO_REUSEPORT, or this system has no SO_REUSEPORT.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("processes cannot share a port on this system: it has no SO_REUSEPORT")
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)  # type: ignore[arg-type]  # `getaddrinfo` returned this address
    except BaseException:
        opened.close()
        raise
    return opened
