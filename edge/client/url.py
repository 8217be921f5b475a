"""The connector for the URL of a room. The connector dials with the best transport that works."""

from __future__ import annotations

import base64
import logging
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import unquote, urljoin, urlsplit

import trio

from ..errors import RemoteProtocolError
from ..protocol.codec import VERSION, Codec
from ..protocol.limits import Limits
from ..transports.http.client import open_http_transport
from ..transports.http.redirects import Redirected
from ..transports.http.transport import Mode
from ..transports.transport import Transport
from ..transports.websocket.websocket import open_websocket
from .connector import Connector
from .fallback import WELCOME_SECONDS, TransportFallback, TransportKind

log: logging.Logger = logging.getLogger("edge.client")

# The maximum time of a probe of a better transport, in seconds.
PROBE_SECONDS = 10.0

# The characters that a query may contain without further encoding.
QUERY = re.compile(r"[\w.~%!$&'()*+,;=:@/?-]*", re.ASCII)
ROOM_PATH = re.compile(r"/(?:[\w.~%-]+/)*rooms/[\w.~%-]+/[\w.~%-]+", re.ASCII)

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff]([\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?|")
OWN_HEADERS = ("host", "connection", "upgrade", "content-length", "content-type", "transfer-encoding", "te", "trailer")

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class _Address:
    """The parts of a room's URL.

    Raises:
      ValueError: `url` is not the URL of a room.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a ws://, wss://, http:// or https:// address with a host")
        if not ROOM_PATH.fullmatch(parts.path):
            raise ValueError(f"{url!r} is not the URL of a room: its path must end with /rooms/<kind>/<name>")
        if not QUERY.fullmatch(parts.query):
            raise ValueError(f"the query of {url!r} contains characters that have to be encoded")
        self.url = url
        self.secure = parts.scheme in ("wss", "https")
        self.hostname = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        credentials, _, self.host = parts.netloc.rpartition("@")
        self.path = parts.path + (f"?{parts.query}" if parts.query else "")
        # RFC 7617: the decoded user and password, in Base64
        basic = base64.b64encode(unquote(credentials).encode()).decode()
        self.headers = {"authorization": f"Basic {basic}"} if credentials else {}


class UrlConnector(Connector):
    """Dials a room's URL with the best transport that works.

    Args:
      url: ``ws://``, ``wss://``, ``http://`` or ``https://``, host, and ``/rooms/<kind>/<name>``.
      kinds: the transports to try, best first.
      tls: the TLS context for a secure URL; the default verifies the server's certificate.
      codec: the encoding of messages, which is part of the WebSocket subprotocol.
      limits: the limits of the client.
      headers: further headers of each request.
      connect: opens a byte stream to the server; by default over TCP, with TLS for a secure URL.

    Raises:
      ValueError: `url` or a header is invalid, or `kinds` is empty.
    """

    def __init__(
        self,
        url: str,
        *,
        codec: Codec,
        limits: Limits,
        kinds: tuple[TransportKind, ...] = tuple(TransportKind),
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._url = self._at = _Address(url)
        self._tls = tls
        self._headers = _checked(headers or {})
        self._connect = connect or self._connect_tcp
        self._subprotocol = f"edge.{VERSION}.{codec.name}"
        self._limits = limits
        self._fallback = TransportFallback(tuple(map(TransportKind, kinds)))
        self._opened = False

    def send_to(self, where: str) -> None:
        try:
            there = _Address(where) if where else self._url
        except ValueError as exc:
            log.warning("the server named an invalid address for the room, which is ignored: %s", exc)
            return
        if there.secure or not self._url.secure:
            self._at = there
        else:
            log.warning("the server named %s for the room, which is ignored because it is not secure", where)

    @property
    def url(self) -> str:
        """The URL of the next connection."""
        return self._at.url

    @property
    def kind(self) -> TransportKind:
        """The kind of transport of the current connection, or of the next connection if there is none."""
        return self._fallback.kind

    @property
    def welcome_seconds(self) -> float:
        return WELCOME_SECONDS[self._fallback.kind]

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Transport]:
        self._opened = self._followed = False
        if self._fallback.kind is TransportKind.WEBSOCKET:
            async with AsyncExitStack() as stack:
                try:
                    websocket = await stack.enter_async_context(self._open_websocket())
                except Redirected as exc:
                    self._follow(exc)
                    try:
                        websocket = await stack.enter_async_context(self._open_websocket())
                    except Redirected as again:
                        self._follow(again)
                        raise AssertionError from again  # `_follow` has raised: it follows only one redirect
                self._opened = True
                yield websocket
            return
        mode = Mode.STREAM if self._fallback.kind is TransportKind.STREAM else Mode.POLL
        async with open_http_transport(
            self._connect,
            self._at.host,
            self._at.path,
            secrets.token_urlsafe(16),
            mode,
            subprotocol=self._subprotocol,
            limits=self._limits,
            headers={**self._headers, **self._at.headers},
            follow=self._follow,
        ) as transport:
            yield transport

    @asynccontextmanager
    async def _open_websocket(self) -> AsyncIterator[Transport]:
        stream, at = await self._connect(), self._at
        headers = {**self._headers, **at.headers}
        async with (
            stream,
            open_websocket(stream, at.host, at.path, subprotocol=self._subprotocol, headers=headers) as websocket,
        ):
            yield websocket

    def _follow(self, redirect: Redirected) -> tuple[str, str]:
        """Check a redirect, and dial its target from now on. Each connection follows at most one redirect, and only to
        the same host. A connection never follows a redirect from a secure to an insecure URL.

        Returns: the host and the path of the target.

        Raises:
          OSError: the redirect breaks one of these rules, or its target is not the URL of a room.
        """
        try:
            there = _Address(urljoin(re.sub("^ws", "http", self._at.url), redirect.location))  # it knows no ws:
        except ValueError as exc:
            raise OSError(f"{redirect}, which is not the URL of a room") from exc
        if self._followed:
            raise OSError(f"{redirect}, after another redirect: only one is followed")
        if there.hostname != self._at.hostname:
            raise OSError(f"{redirect}, which is another host: if that is intended, join that URL")
        if self._at.secure and not there.secure:
            raise OSError(f"{redirect}, which is not secure")
        self._followed = True
        there.headers = self._at.headers
        self._at = there
        return there.host, there.path

    def ended(self, lasted: float | None) -> bool:
        return self._fallback.ended(lasted, opened=self._opened)

    async def wait_better(self) -> None:
        while True:
            await trio.sleep(self._fallback.upward_seconds)
            self._fallback.note_probe()
            if await self._probe():
                self._fallback.climb()
                return

    async def _probe(self) -> bool:
        """Return True if a WebSocket can be opened now. The probe does not show that the WebSocket carries data."""
        with trio.move_on_after(PROBE_SECONDS):
            try:
                async with self._open_websocket():
                    return True
            except (OSError, trio.BrokenResourceError, RemoteProtocolError, Redirected):
                return False
        return False

    async def _connect_tcp(self) -> trio.abc.Stream:
        hostname, port = self._at.hostname, self._at.port
        if not self._at.secure:
            return await trio.open_tcp_stream(hostname, port)
        self._tls = self._tls or ssl.create_default_context()
        stream = await trio.open_ssl_over_tcp_stream(hostname, port, ssl_context=self._tls)
        try:
            await stream.do_handshake()  # now, because a failure at the first read or write would hide its cause
        except trio.BrokenResourceError as exc:
            await trio.aclose_forcefully(stream)
            raise OSError(f"no secure connection to {hostname}: {exc.__cause__ or exc}") from exc
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's headers by lower-case name.

    Raises:
      ValueError: a header is invalid, or edge sets it.
    """
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name!r}: {value!r} is not a header")
        if name.lower() in OWN_HEADERS or name.lower().startswith(("sec-websocket-", "edge-")):
            raise ValueError(f"the header {name} is edge's own, and cannot be set")
    return {name.lower(): value for name, value in headers.items()}
