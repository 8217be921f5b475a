"""The handoff of connections between the workers of one port.

The kernel gives a new connection to any worker. That worker upgrades the connection to a WebSocket and reads the hello.
If another worker has the room, it gets the file descriptor of the connection, in one datagram of a Unix socket, and
reads the hello again. So nothing has to be relayed.
"""

from __future__ import annotations

import array
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import trio

log: logging.Logger = logging.getLogger("edge.server")

# Seconds for which a handoff waits while the queue of the other worker is full.
SEND_SECONDS = 1.0
# The largest datagram, which fits into the default buffers of Linux.
MAX_BYTES = 128 * 1024

FD_BYTES = array.array("i").itemsize
# The received descriptor is closed if the worker starts another program. Some systems do not have this flag.
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Handoff:
    """Hands connections off to other workers, and takes connections from them.

    Args:
      directory: the directory of the workers' sockets. Only the user who runs the workers may have access to it.
      me: the name of this server.
    """

    def __init__(self, directory: Path, me: str) -> None:
        self._directory = directory
        self._me = me

    async def send(self, stream: trio.SocketStream, about: bytes, to: str) -> bool:
        """Hand a connection off to the server `to`. The caller closes its own copy of the connection.

        Args:
          about: what the other server needs to know of the connection.

        Returns: False if that server is not a worker of this port, is draining, or does not take the connection.
        """
        if len(about) > MAX_BYTES:
            return False
        descriptors = array.array("i", [stream.socket.fileno()])
        try:
            with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
                await opened.connect(str(self._directory / to))
                with trio.move_on_after(SEND_SECONDS):
                    await opened.sendmsg([about], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                    return True
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                log.warning("a connection could not be handed off to server %s: %s", to, exc)
        return False

    async def receive(self, serve: Callable[[trio.SocketStream, bytes], object]) -> None:
        """Take connections from other workers, until cancelled.

        Args:
          serve: called with a connection, and with the argument `about` of `send`.
        """
        path = self._directory / self._me
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
            await opened.bind(str(path))
            try:
                while True:
                    found = await opened.recvmsg(MAX_BYTES, socket.CMSG_LEN(FD_BYTES), CLOSE_ON_EXEC)
                    about, ancillary = found[:2]
                    descriptors = array.array("i", b"".join(data[:FD_BYTES] for *_, data in ancillary))
                    if not descriptors:  # the kernel closes a descriptor for which this process has no number left
                        log.warning("a connection of another worker is lost: %s", os.strerror(errno.EMFILE))
                        continue
                    taken = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptors[0]))
                    serve(trio.SocketStream(taken), about)
            finally:
                path.unlink(missing_ok=True)
