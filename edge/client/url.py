"""How a client reaches its server: a URL, the kinds of transport, and which of them works here."""

from __future__ import annotations

import logging
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from ..errors import RemoteProtocolError
from ..protocol.codec import VERSION, Codec
from ..protocol.limits import Limits
from ..transports.line import Mode
from ..transports.line_client import open_line
from ..transports.transport import Transport
from ..transports.websocket import open_websocket
from .dialler import Dialler
from .fallback import WELCOME_SECONDS, Ladder, TransportKind

log = logging.getLogger("edge.client")

# How long to wait for a probe of a better transport.
PROBE_SECONDS = 10.0

# Letters, digits and signs that a URL may hold as they are.
ROOM_PATH = re.compile(r"/(?:[\w.~%-]+/)*rooms/[\w.~%-]+/[\w.~%-]+", re.ASCII)

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class _Address:
    """A room's address, taken apart.

    Raises:
      ValueError: not such a URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a ws://, wss://, http:// or https:// address")
        if not ROOM_PATH.fullmatch(parts.path):
            raise ValueError(f"{url!r} is no room's address: it ends with /rooms/<kind>/<name>")
        self.url = url
        self.secure = parts.scheme in ("wss", "https")
        self.hostname = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.host = parts.netloc.rpartition("@")[2]
        self.path = parts.path


class UrlDialler(Dialler):
    """Dials a room's URL, by whatever transport works.

    Args:
      url: ``ws://``, ``wss://``, ``http://`` or ``https://``, host, and ``/rooms/<kind>/<name>``.
      kinds: which transports to try, best first.
      tls: for a secure one; the default verifies the server.
      connect: opens a connection to the server; by default over TCP.

    Raises:
      ValueError: not such a URL.
    """

    def __init__(
        self,
        url: str,
        *,
        codec: Codec,
        limits: Limits,
        kinds: tuple[TransportKind, ...] = tuple(TransportKind),
        tls: ssl.SSLContext | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._url = self._at = _Address(url)
        self._tls = tls or ssl.create_default_context() if self._url.secure else None
        self._connect = connect or self._connect_tcp
        self._subprotocol = f"edge.{VERSION}.{codec.name}"
        self._limits = limits
        self._ladder = Ladder(tuple(map(TransportKind, kinds)))
        self._opened = False

    def send_to(self, where: str) -> None:
        try:
            there = _Address(where) if where else self._url
        except ValueError as exc:
            log.warning("sent to no address: %s", exc)
            return
        if there.secure or not self._url.secure:
            self._at = there
        else:
            log.warning("sent from a secure address to %s, which is none", where)

    @property
    def url(self) -> str:
        """Where it dials next."""
        return self._at.url

    @property
    def kind(self) -> TransportKind:
        """The transport that is in use, or is tried next."""
        return self._ladder.kind

    @property
    def patience(self) -> float:
        return WELCOME_SECONDS[self._ladder.kind]

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Transport]:
        self._opened = False
        if self._ladder.kind is TransportKind.WEBSOCKET:
            stream = await self._connect()
            async with (
                stream,
                open_websocket(stream, self._at.host, self._at.path, subprotocol=self._subprotocol) as websocket,
            ):
                self._opened = True
                yield websocket
            return
        mode = Mode.STREAM if self._ladder.kind is TransportKind.STREAM else Mode.POLL
        async with open_line(
            self._connect,
            self._at.host,
            self._at.path,
            secrets.token_urlsafe(16),
            mode,
            subprotocol=self._subprotocol,
            limits=self._limits,
        ) as line:
            yield line

    def ended(self, lasted: float | None) -> bool:
        return self._ladder.ended(lasted, opened=self._opened)

    async def wait_better(self) -> None:
        while True:
            await trio.sleep(self._ladder.upward_seconds)
            self._ladder.note_probe()
            if await self._probe():
                self._ladder.climb()
                return

    async def _probe(self) -> bool:
        """Whether a WebSocket can be opened now; whether it carries anything is for its welcome to show."""
        with trio.move_on_after(PROBE_SECONDS):
            try:
                stream = await self._connect()
                async with stream, open_websocket(stream, self._at.host, self._at.path, subprotocol=self._subprotocol):
                    return True
            except (OSError, trio.BrokenResourceError, RemoteProtocolError):
                return False
        return False

    async def _connect_tcp(self) -> trio.abc.Stream:
        hostname, port = self._at.hostname, self._at.port
        if not self._at.secure:
            return await trio.open_tcp_stream(hostname, port)
        return await trio.open_ssl_over_tcp_stream(hostname, port, ssl_context=self._tls)
