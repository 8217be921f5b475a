"""HTTP/1.1, for servers and clients. No other file imports h11.

h11 accepts requests that a proxy and a server may read differently. Such requests have a bare LF, folded headers, two
Content-Length headers, or both Content-Length and Transfer-Encoding. Attackers use such requests for request smuggling,
so this file rejects them.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import attrs
import h11
import trio

log: logging.Logger = logging.getLogger("edge.server")

# The maximum size of a request's head, in bytes. It is enough for a large cookie.
MAX_HEAD_BYTES = 16 * 1024
# The pause after bytes that are discarded because a client sends too much before it gets its response, in seconds.
DISCARD_SECONDS = 0.1
MAX_HEADERS = 100
MAX_BODY_BYTES = 1024 * 1024
# RFC 9112 section 3.2.2: the target of a request may be an absolute URL. The host of the URL then replaces `Host`.
ABSOLUTE_FORM = re.compile(r"^https?://([^/?]*)", re.IGNORECASE)
# RFC 9112 section 3.2: empty, or a name or address with an optional port. A comma is invalid, because it means that the
# request has two `Host` headers.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w\-.~!$&'()*+;=%]*)(?::\d*)?", re.ASCII)
VERSION = re.compile(rb"[^\r\n]* HTTP/(\d+)\.\d+\r\n")
# RFC 9110 section 5.5: the characters that no header value may contain.
CONTROL_CHARACTERS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# The head of an ordinary request for a WebSocket. All other heads are read by h11 alone.
ORDINARY_HEAD = re.compile(rb"GET /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [!-~](?:[ -~]*[!-~])?\r\n)+\r\n")
BARE_END = re.compile(rb"[^\r]\n|\r[^\n]")
CONTENT_LENGTH = re.compile(rb"\ncontent-length:([^\r]*)", re.IGNORECASE)
# The number of empty lines before a request that are ignored (RFC 9112 section 2.2).
MAX_EMPTY_LINES = 4
# A peer must read WRITE_BYTES within WRITE_SECONDS. Otherwise its connection ends.
WRITE_BYTES = 64 * 1024
WRITE_SECONDS = 10.0
PHRASES = {status.value: status.phrase for status in HTTPStatus}
# The time limit of a response, in seconds, to which one second is added for each RESPONSE_BYTES_PER_SECOND bytes.
RESPONSE_SECONDS, RESPONSE_BYTES_PER_SECOND = 60.0, 16 * 1024
# The status codes of responses without a body and a length (RFC 9110 sections 15.3.5 and 15.4.5).
BODILESS = (204, 304)
DEFAULTS = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}
# The time limit of a request's body, in seconds, to which one second is added for each BODY_BYTES_PER_SECOND bytes.
BODY_SECONDS, BODY_BYTES_PER_SECOND = 30.0, 32 * 1024


@attrs.frozen
class Request:
    """One HTTP request."""

    method: str
    raw_path: str
    """The percent-encoded path, as the client sent it."""
    raw_query: str
    """The percent-encoded query, after the question mark."""
    headers: dict[str, str] = attrs.field(repr=False)
    """Headers by lower-case name. Commas join repeated headers, semicolons join cookies (RFC 9110 section 5.3)."""
    address: str = ""
    """The address of the client; empty if unknown. A proxy of `AddressLimits.proxies` may report the address."""
    scheme: str = "http"
    """``https`` if the request was sent over TLS, or if a proxy of `AddressLimits.proxies` reports ``https``."""
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, str]:
        """The decoded query, with the last value of each name that is not empty."""
        return dict(parse_qsl(self.raw_query))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the request."""
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";") if "=" in pair)
        return {name.strip(): value.strip() for name, _, value in pairs}


@attrs.frozen
class FilePart:
    """A part of a file, as the body of a response. The file is read in pieces, as fast as the client receives them."""

    path: Path
    start: int
    size: int
    version: tuple[int, int, int]
    """The version of the file: see `version_of`."""


def version_of(stat: os.stat_result) -> tuple[int, int, int]:
    """Return a value that changes if the file is changed or replaced."""
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@attrs.frozen
class Response:
    """One HTTP response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Additional headers."""
    more: tuple[tuple[str, str], ...] = ()
    """Additional headers whose names may repeat, such as cookies."""
    defaults: Mapping[str, str] = attrs.field(default=DEFAULTS, repr=False)
    """Headers that are sent unless `headers` has the same name."""
    file: FilePart | None = None
    """The body, if it is a part of a file."""


class BadRequest(Exception):  # the server converts this exception to a response
    """A request can't be served. The connection closes after the response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Responder(Protocol):
    """Sends the response to one request, at once or in pieces."""

    async def respond(self, response: Response, *, head_only: bool = False, close: bool = False) -> None: ...
    async def start(self, response: Response) -> None: ...
    async def send(self, data: bytes) -> None: ...
    async def finish(self) -> None: ...
    async def wait_gone(self) -> None: ...


class _Writer(abc.ABC):
    """The base class of both sides of an HTTP connection. It writes in pieces, and each piece has a deadline."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    @property
    @abc.abstractmethod
    def _h11(self) -> h11.Connection:
        """The state machine of the connection."""

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        for start in range(0, len(data), WRITE_BYTES):
            with trio.move_on_after(WRITE_SECONDS) as scope:
                await self.stream.send_all(data[start : start + WRITE_BYTES])
            if scope.cancelled_caught:
                raise trio.BrokenResourceError("the peer does not read")


def _h11_server() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)


class HttpConnection(_Writer):
    """The server side of a connection, for one request after another.

    After each request from `next_request`, call `respond`; or `start`, `send` for each piece of the body, and `finish`;
    or `switch` to another protocol.

    Args:
      address: the address of the peer; empty if unknown.
    """

    def __init__(self, stream: trio.abc.Stream, address: str = "") -> None:
        super().__init__(stream)
        self._address = address
        self._scheme = "https" if isinstance(stream, trio.SSLStream) else "http"
        self._head = b""
        """The head of the current request, and the bytes that were received with the head."""
        self._head_end = 0
        self._ahead = b""
        self._has_discarded = False
        self._machine: h11.Connection | None = None
        """None until a request or a response needs it: see `_read_ordinary_head`."""

    @property
    def _h11(self) -> h11.Connection:
        if self._machine is None:
            self._machine = _h11_server()
            if self._head:
                self._machine.receive_data(self._head)
                self._machine.next_event()
        return self._machine

    @property
    def reusable(self) -> bool:
        """True if another request may follow on this connection."""
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        return done and not self._has_discarded

    @property
    def pipelined(self) -> bool:
        """True if bytes of the next request have arrived before the response to the current request."""
        return bool(self._ahead)

    @property
    def unanswered(self) -> bool:
        """True if no part of the response to the current request has been sent."""
        return self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    async def next_request(self, *, idle: float, seconds: float) -> Request | None:
        """Wait for the next request, and return it without its body; None if the peer disconnects or sends no request.

        Args:
          idle: the maximum wait for the first byte, in seconds.
          seconds: the maximum time for the rest of the head, in seconds.

        Raises:
          BadRequest: the request can't be served.
        """
        self._machine, self._head = None, b""
        with trio.move_on_after(idle) as scope:
            if not self._ahead:
                self._ahead = bytes(await self.stream.receive_some())
                if not self._ahead:
                    return None
            scope.deadline = trio.current_time() + seconds
            return self._parse_head() if await self._read_head() else None
        if not self._ahead:
            return None
        raise BadRequest(408, "late", "the request took too long")

    async def read_body(
        self,
        request: Request,
        keep: Callable[[int], object] = lambda size: None,
        *,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Request:
        """Read the body of a request, and return the request with its body.

        Args:
          keep: called with the size of each piece that arrives, in bytes. Its errors propagate.
          max_bytes: the largest body that is read, in bytes.

        Raises:
          BadRequest: the body is too large or too slow, or contradicts the headers.
        """
        body, began = bytearray(), trio.current_time()
        too_large = BadRequest(413, "too_large", f"the body is larger than {max_bytes} bytes")
        if int(request.headers.get("content-length", "0")) > max_bytes:  # h11 has checked that the header is a number
            raise too_large
        with trio.move_on_after(BODY_SECONDS) as scope:
            while True:
                try:
                    event = self._h11.next_event()
                    if event is h11.NEED_DATA:
                        if self._h11.they_are_waiting_for_100_continue:
                            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                        self._h11.receive_data(bytes(await self.stream.receive_some()))
                        continue
                except h11.RemoteProtocolError as exc:
                    raise BadRequest(400, "malformed", str(exc)) from exc
                if isinstance(event, h11.EndOfMessage):
                    self._ahead = self._h11.trailing_data[0]
                    return attrs.evolve(request, body=bytes(body))
                if isinstance(event, h11.Data):
                    if len(body) + len(event.data) > max_bytes:  # chunks announce no total size
                        raise too_large
                    keep(len(event.data))
                    body += event.data
                    scope.deadline = began + BODY_SECONDS + len(body) / BODY_BYTES_PER_SECOND
        raise BadRequest(408, "late", "the body took too long")

    def switch(self) -> bytes:
        """Stop using the stream, so that the caller can use the protocol that the current request asks for.

        The caller answers the request. The request must have no body.

        Returns: the bytes after the request that have arrived.
        """
        return self._head[self._head_end :]

    async def respond(self, response: Response, *, head_only: bool = False, close: bool = False) -> None:
        """Send the response to the current request.

        Args:
          head_only: True for a HEAD request, whose response has no body.
          close: True to announce that the connection closes after this response.

        Raises:
          ValueError: a header or the status is not valid HTTP. Nothing was sent.
          trio.BrokenResourceError: the peer has disconnected or reads too slowly, or the file has changed.
        """
        bodiless = head_only or response.status in BODILESS
        size = len(response.body) if response.file is None else response.file.size
        head = _response_head(response, None if response.status in BODILESS else size, close=close)
        with trio.move_on_after(RESPONSE_SECONDS + size / RESPONSE_BYTES_PER_SECOND) as scope:
            if response.file is None or bodiless:
                await self._send(head, h11.Data(data=b"" if bodiless else response.body), h11.EndOfMessage())
            else:
                await self._send_file(head, response.file)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the peer takes too long to read")

    async def _send_file(self, head: h11.Response, part: FilePart) -> None:
        events: list[h11.Event] = [head]  # the head is sent with the first piece
        for at in range(part.start, part.start + part.size, WRITE_BYTES):
            piece = await trio.to_thread.run_sync(_read_piece, part, at)
            if piece is None:
                log.warning("the file %r has changed while it was sent: the response is cut off", part.path.name)
                raise trio.BrokenResourceError("the file has changed")
            await self._send(*events, h11.Data(data=piece))
            events.clear()
        await self._send(*events, h11.EndOfMessage())

    async def start(self, response: Response) -> None:
        """Start the response to the current request. The body follows in pieces, and its length is unknown.

        Raises:
          ValueError, trio.BrokenResourceError: see `respond`.
        """
        await self._send(_response_head(response, None))
        if response.body:
            await self.send(response.body)

    async def send(self, data: bytes) -> None:
        """Send the next piece of the body.

        Raises:
          trio.BrokenResourceError: the peer has disconnected, or does not read.
        """
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """End the body of the response."""
        await self._send(h11.EndOfMessage())

    async def wait_gone(self) -> None:
        """Wait until the peer closes the connection. Bytes that arrive before are stored for the next request.

        If they are more than a head may be, they are discarded, and this connection serves no further request.
        """
        while received := await self.stream.receive_some():
            if len(self._ahead) < MAX_HEAD_BYTES:
                self._ahead += received
            else:
                self._has_discarded = True
                await trio.sleep(DISCARD_SECONDS)

    async def _read_head(self) -> bool:
        empty, checked = 0, 0
        while True:
            while self._ahead.startswith(b"\r\n") and empty < MAX_EMPTY_LINES:
                self._ahead, empty = self._ahead[2:], empty + 1
            if (end := self._ahead.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)) >= 0:
                break
            if len(self._ahead) >= MAX_HEAD_BYTES:
                raise BadRequest(431, "too_large", f"the head is larger than {MAX_HEAD_BYTES} bytes")
            if self._ahead.startswith(b"\n") or BARE_END.search(self._ahead, max(0, checked - 1)):
                raise BadRequest(
                    400, "malformed", "each line of the head must end with CR LF"
                )  # checked before the head is complete, because such a head may never end
            checked = len(self._ahead)
            received = await self.stream.receive_some()
            if not received:
                return False
            self._ahead += received
        self._head, self._ahead, self._head_end = self._ahead, b"", end + 4
        return True

    def _parse_head(self) -> Request:
        head = self._head[: self._head_end]
        return self._read_ordinary_head(head) or self._read_any_head(head)

    def _read_ordinary_head(self, head: bytes) -> Request | None:
        """Read an ordinary request for a WebSocket; return None for any other request.

        h11 would find the same request, in six times the time. It gets the head only if another method of this object
        needs its state, because the request is refused.
        """
        if not ORDINARY_HEAD.fullmatch(head):
            return None
        first, *lines = head[:-4].decode("ascii").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        ordinary = len(headers) == len(lines) <= MAX_HEADERS and headers.get("upgrade") == "websocket"
        if not ordinary or "content-length" in headers or "transfer-encoding" in headers:
            return None
        if not headers.get("host") or not HOST.fullmatch(headers["host"]):
            return None
        path, _, query = first[4:-9].partition("?")
        return Request("GET", path, query, headers, self._address, self._scheme)

    def _read_any_head(self, head: bytes) -> Request:
        self._machine = machine = _h11_server()
        _check_head(head[:-2])
        try:
            machine.receive_data(self._head)
            event = machine.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, "malformed", str(exc)) from exc
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "malformed", "the message is not a request")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            joint = "; " if key == "cookie" else ", "
            headers[key] = f"{headers[key]}{joint}{text}" if key in headers else text
        if "transfer-encoding" in headers and ("content-length" in headers or event.http_version < b"1.1"):
            # RFC 9112 section 6.1: request smuggling
            raise BadRequest(
                400, "malformed", "Transfer-Encoding excludes Content-Length, and does not exist in HTTP/1.0"
            )
        if event.http_version < b"1.1":
            headers.pop("upgrade", None)  # RFC 9110 section 7.8
        target = event.target.decode("latin-1")
        if not HOST.fullmatch(headers.get("host", "")):
            raise BadRequest(400, "malformed", "the Host header is not a valid host")
        if absolute := ABSOLUTE_FORM.match(target):
            headers["host"], target = absolute[1], target[absolute.end() :]
            target = target if target.startswith("/") else f"/{target}"
            if not HOST.fullmatch(absolute[1]) or not absolute[1]:
                raise BadRequest(400, "malformed", "the URL of the request has no valid host")
        if target == "*" and event.method == b"OPTIONS":
            return Request("OPTIONS", "*", "", headers, self._address, self._scheme)
        if not target.startswith("/"):
            raise BadRequest(400, "malformed", "the target of the request must be a path")
        path, _, query = target.partition("?")
        return Request(event.method.decode("ascii"), path, query, headers, self._address, self._scheme)


def date_now() -> str:
    """Return the current time in the format of HTTP headers (RFC 9110 section 6.6.1)."""
    return _date_at(int(time.time()))


@functools.lru_cache(1)
def _date_at(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def tokens_of(value: str) -> list[str]:
    """Return the tokens in the value of a header, in lower case."""
    return [each.strip() for each in value.lower().split(",")]


def _response_head(response: Response, length: int | None, *, close: bool = False) -> h11.Response:
    headers = {
        "date": date_now(),
        **response.defaults,
        **({"content-type": response.content_type} if response.content_type else {}),
        **{name.lower(): value for name, value in response.headers.items()},
    }
    if length is not None:
        headers["content-length"] = str(length)
    if close:
        headers["connection"] = "close"
    if response.status in BODILESS:
        headers.pop("content-type", None)
    if any(name == "date" for name, _ in response.more):
        del headers["date"]
    reason = PHRASES.get(response.status, "")
    try:
        return h11.Response(status_code=response.status, headers=[*headers.items(), *response.more], reason=reason)
    except h11.LocalProtocolError as exc:
        raise ValueError(f"the response is not valid HTTP: {exc}") from exc


def _check_head(head: bytes) -> None:
    if (version := VERSION.match(head)) and version[1] != b"1":
        raise BadRequest(505, "version", "this server supports only HTTP/1.0 and HTTP/1.1")
    ends = head.count(b"\r\n")
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise BadRequest(400, "malformed", "each line of the head must end with CR LF")  # RFC 9112 section 2.2
    if CONTROL_CHARACTERS.search(head):
        raise BadRequest(400, "malformed", "the head contains a control character")
    if b"\n " in head or b"\n\t" in head:
        raise BadRequest(400, "malformed", "a header may not be folded")  # RFC 9112 section 5.2
    lengths = CONTENT_LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        raise BadRequest(400, "malformed", "more than one Content-Length")  # even if equal: RFC 9110 section 8.6
    if ends > MAX_HEADERS + 1:
        raise BadRequest(431, "too_large", f"more than {MAX_HEADERS} headers")


def _read_piece(part: FilePart, at: int) -> bytes | None:
    """Return a piece of a file; None if the file has changed.

    The file is open only during this call, so that slow clients do not use up file descriptors.
    """
    try:
        with part.path.open("rb") as file:
            if version_of(os.fstat(file.fileno())) != part.version:
                return None
            file.seek(at)
            return file.read(min(part.start + part.size - at, WRITE_BYTES))
    except OSError:
        return None


def sentence_of(body: bytes) -> str:
    """Return the ``message`` in the JSON body of a refusal; without a ``message``, the whole body.

    The result has at most 300 characters.
    """
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        text = str(json.loads(text)["message"])
    return text[:300]


class HttpClient(_Writer):
    """The client side of a connection, for one request after another.

    Args:
      stream: a connected stream.
      host: the value of the Host header.
    """

    def __init__(self, stream: trio.abc.Stream, host: str) -> None:
        super().__init__(stream)
        self.last_received_at: float = trio.current_time()
        """The time at which the last byte arrived, on Trio's clock."""
        self.cookies: list[str] = []
        """The values of the `set-cookie` headers of the newest response."""
        self._host = host
        self._machine = h11.Connection(h11.CLIENT)

    @property
    def _h11(self) -> h11.Connection:
        return self._machine

    @property
    def reusable(self) -> bool:
        """True if another request may follow on this connection."""
        return (self._h11.our_state, self._h11.their_state) in ((h11.IDLE, h11.IDLE), (h11.DONE, h11.DONE))

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        """Send a request, and read the head of its response.

        Returns: the status and the headers.

        Raises:
          trio.BrokenResourceError: the server has disconnected, or its answer is not HTTP.
        """
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        length = {"content-length": str(len(body))} if body or method == "POST" else {}
        lines = {"host": self._host, "accept": "*/*", **headers, **length}
        await self._send(
            h11.Request(method=method, target=path, headers=list(lines.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                self.cookies = [value.decode("latin-1") for name, value in event.headers if name == b"set-cookie"]
                return event.status_code, {
                    name.decode("ascii"): value.decode("latin-1") for name, value in event.headers
                }
            if not isinstance(event, h11.InformationalResponse):
                raise trio.BrokenResourceError("the server closed the connection without a response")

    async def receive(self) -> bytes:
        """Wait for the next piece of the response's body. Return empty bytes at the end of the body.

        Raises:
          trio.BrokenResourceError: the connection ended before the response did.
        """
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return b""
        raise trio.BrokenResourceError("the response broke off")

    async def receive_all(self) -> bytes:
        """Read the whole body of the response, up to `MAX_BODY_BYTES`.

        Raises:
          trio.BrokenResourceError: the connection ended before the response did, or the body is too large.
        """
        body = b""
        while piece := await self.receive():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise trio.BrokenResourceError("the response is too large")
        return body

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                received = bytes(await self.stream.receive_some())
                if received:
                    self.last_received_at = trio.current_time()
                self._h11.receive_data(received)
        except h11.RemoteProtocolError as exc:
            raise trio.BrokenResourceError(f"not HTTP: {exc}") from exc
        return event
