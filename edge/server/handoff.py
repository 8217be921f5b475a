"""The handoff of connections between the workers of one port.

The kernel gives a new connection to any worker. That worker upgrades the connection to a WebSocket and reads the hello.
If another worker has the room, it gets the file descriptor of the connection, in one datagram of a Unix socket, and
reads the hello again. So nothing has to be relayed.

The datagram has a second descriptor: one end of a socket pair. The other worker sends one byte through it before it
serves the connection. If it refuses, drains, dies, or has no space for descriptors, the pair closes without this byte.
If it does not answer in time, the first worker shuts its end down, so that the byte can no longer be sent. So exactly
one of the workers serves the connection.
"""

from __future__ import annotations

import array
import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import trio

log: logging.Logger = logging.getLogger("edge.server")

# Seconds for which a handoff waits for the other worker, which may be stopped.
ANSWER_SECONDS = 1.0
# The largest datagram, which fits into the default buffers of Linux.
MAX_BYTES = 128 * 1024

TAKEN = b"t"
FD_BYTES = array.array("i").itemsize
# The received descriptors are closed if the worker starts another program. Some systems do not have this flag.
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Take = Callable[[trio.SocketStream, bytes, Callable[[], object]], bool]
"""Called with a connection, the argument `about` of `Handoff.send`, and a function that answers the other worker. If
this worker takes the connection, it answers, and then returns true. Otherwise, it returns false and closes nothing. The
answer raises `OSError` if the other worker serves the connection itself."""


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

        Returns: False if that server is not a worker of this port, or does not take the connection.

        *Cancellation*: the other server may have taken the connection.
        """
        if len(about) > MAX_BYTES:
            return False
        path = self._directory / to
        try:
            answer, given = trio.socket.socketpair()
            with answer:
                with trio.move_on_after(ANSWER_SECONDS):
                    with given, trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
                        await opened.connect(str(path))
                        descriptors = array.array("i", [stream.socket.fileno(), given.fileno()])
                        await opened.sendmsg([about], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                    return await answer.recv(1) == TAKEN
                answer.shutdown(socket.SHUT_RD)
                return await answer.recv(1) == TAKEN  # the other worker may have answered just before
        except OSError as exc:
            if exc.errno == errno.ECONNREFUSED:  # that worker was killed
                path.unlink(missing_ok=True)
            elif exc.errno != errno.ENOENT:
                log.warning("a connection could not be handed off to server %s: %s", to, exc)
        return False

    async def receive(self, take: Take, *, task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED) -> None:
        """Take connections from other workers, until cancelled.

        Args:
          task_status: receives false if the directory cannot be used. The other workers then relay.
        """
        path = self._directory / self._me
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
            try:
                await opened.bind(str(path))
            except OSError as exc:
                log.warning("connections to rooms of other workers are relayed, not handed off: %s: %s", path, exc)
                task_status.started(False)
                return
            try:
                task_status.started(True)
                while True:
                    about, ancillary, *_ = await opened.recvmsg(MAX_BYTES, socket.CMSG_LEN(2 * FD_BYTES), CLOSE_ON_EXEC)
                    descriptors = array.array("i", b"".join(data for *_, data in ancillary))
                    _take(take, about, [socket.socket(fileno=descriptor) for descriptor in descriptors])
            finally:
                path.unlink(missing_ok=True)


def _take(take: Take, about: bytes, passed: list[socket.socket]) -> None:
    """Take a connection, and answer the other worker."""
    if len(passed) == 2:  # else the kernel has closed some, because this process has no numbers left for them
        connection, answer = passed
        connection.setblocking(False)
        try:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
            if take(stream, about, lambda: answer.send(TAKEN)):
                passed.remove(connection)
        except Exception:
            log.exception("a connection of another worker could not be taken")
    for each in passed:
        each.close()
