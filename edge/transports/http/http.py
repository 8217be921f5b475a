"""HTTP/1.1 through h11: the only file that knows it. Both sides: requests that come, and requests of our own.

h11 lets through what front ends and back ends read differently (a bare LF, folded headers, Content-Length twice or
beside Transfer-Encoding): the way requests are smuggled. Those are refused here before h11 sees them.
"""

from __future__ import annotations

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

log = logging.getLogger("edge.server")

# A head with a large cookie fits; a header bomb does not.
MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_BODY_BYTES = 1024 * 1024
# RFC 9112 section 3.2.2: a client may name us in front of the path; then that is the host, whatever `Host` says.
ABSOLUTE_FORM = re.compile(r"^https?://([^/?]*)", re.IGNORECASE)
# RFC 9112 section 3.2: a name or an address, and perhaps a port; or nothing. A comma would be two hosts joined.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w\-.~!$&'()*+;=%]*)(?::\d*)?", re.ASCII)
VERSION = re.compile(rb"[^\r\n]* HTTP/(\d+)\.\d+\r\n")
# RFC 9110 section 5.5: what no value of a header may hold.
CONTROL_CHARACTERS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
BARE_END = re.compile(rb"[^\r]\n|\r[^\n]")
CONTENT_LENGTH = re.compile(rb"\ncontent-length:([^\r]*)", re.IGNORECASE)
# Empty lines before a request that are ignored (RFC 9112 section 2.2).
MAX_EMPTY_LINES = 4
# A peer that does not read this much within this time is let go.
WRITE_BYTES = 64 * 1024
WRITE_SECONDS = 10.0
PHRASES = {status.value: status.phrase for status in HTTPStatus}
# A whole response, however large its pieces: so many seconds, and one more for each so many bytes.
RESPONSE_SECONDS, RESPONSE_BYTES_PER_SECOND = 60.0, 16 * 1024
# RFC 9110 sections 15.3.5 and 15.4.5: these have no body, and say no length.
BODILESS = (204, 304)
DEFAULTS = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}
# How long a body may take to arrive, and how fast a large one has to come.
BODY_SECONDS, BODY_BYTES_PER_SECOND = 30.0, 32 * 1024


@attrs.frozen
class Request:
    """One HTTP request."""

    method: str
    raw_path: str
    """The path as it was sent, still encoded."""
    raw_query: str
    """The part after the question mark, still encoded."""
    headers: dict[str, str] = attrs.field(repr=False)
    """Headers by lower-case name. Repeated ones are joined by commas, cookies by semicolons (RFC 9110 section 5.3)."""
    address: str = ""
    """The address of the client, if known. Of a request through one of `AddressLimits.proxies`, as the proxy says."""
    scheme: str = "http"
    """``https`` if it came over TLS, or if one of the `AddressLimits.proxies` says so."""
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; the last value of each name."""
        return dict(parse_qsl(self.raw_query))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that came with it."""
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip() for name, _, value in pairs}


@attrs.frozen
class FilePart:
    """A part of a file, as the body of a response: read piece by piece, as its reader takes it."""

    path: Path
    start: int
    size: int
    version: tuple[int, int, int]
    """The version of the file: see `version_of`."""


def version_of(stat: os.stat_result) -> tuple[int, int, int]:
    """Another value for another file, or for a file that has changed."""
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@attrs.frozen
class Response:
    """One HTTP response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Further headers."""
    more: tuple[tuple[str, str], ...] = ()
    """Headers of which there may be several of one name: cookies."""
    defaults: Mapping[str, str] = attrs.field(default=DEFAULTS, repr=False)
    """Headers that are sent where `headers` does not say otherwise."""
    file: FilePart | None = None
    """The body, if it is a part of a file."""


class BadRequest(Exception):  # it is answered, not raised to anybody
    """A request that can't be served; after its answer the connection closes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Responder(Protocol):
    """Sends the response to one request, whole or in pieces."""

    async def respond(self, response: Response, *, head_only: bool = False, close: bool = False) -> None: ...
    async def start(self, response: Response) -> None: ...
    async def send(self, data: bytes) -> None: ...
    async def finish(self) -> None: ...
    async def wait_gone(self) -> None: ...


class _Writer:
    """Writes in pieces, each with a deadline. For both sides."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11: h11.Connection

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
    """The requests of one connection, in turn.

    After `next_request` has returned one, `respond` to it; or `start` a response, `send` its body piece by piece, and
    `finish` it; or `switch` to another protocol.

    Args:
      address: the address of the peer, if it is known.
    """

    def __init__(self, stream: trio.abc.Stream, address: str = "") -> None:
        super().__init__(stream)
        self._address = address
        self._scheme = "https" if isinstance(stream, trio.SSLStream) else "http"
        self._head = b""
        """The bytes of the current request's head, and of what followed it so far."""
        self._head_end = 0
        self._ahead = b""
        self._h11 = _h11_server()

    @property
    def reusable(self) -> bool:
        """True if another request may follow on this connection."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    @property
    def pipelined(self) -> bool:
        """True if something of the next request has come before the current one was answered."""
        return bool(self._ahead)

    @property
    def unanswered(self) -> bool:
        """True if nothing of an answer to the current request has been sent."""
        return self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    async def next_request(self, *, idle: float, seconds: float) -> Request | None:
        """The next request without its body; None if the peer is gone, or asks for nothing.

        Args:
          idle: how many seconds to wait for its first byte.
          seconds: how long the head may take from then on.

        Raises:
          BadRequest: it can't be served.
        """
        if self._h11.our_state is not h11.IDLE or self._h11.their_state is not h11.IDLE:
            self._h11 = _h11_server()
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
        """The request with its body.

        Args:
          keep: called with the size of each piece that comes; what it raises comes out.
          max_bytes: the largest body that is read.

        Raises:
          BadRequest: the body is too large, too slow, or not what its headers say.
        """
        body, began = bytearray(), trio.current_time()
        too_large = BadRequest(413, "too_large", f"the body is larger than {max_bytes} bytes")
        if int(request.headers.get("content-length", "0")) > max_bytes:  # h11 has found that it is a number
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
                    if len(body) + len(event.data) > max_bytes:  # in chunks: nobody has said how much it is
                        raise too_large
                    keep(len(event.data))
                    body += event.data
                    scope.deadline = began + BODY_SECONDS + len(body) / BODY_BYTES_PER_SECOND
        raise BadRequest(408, "late", "the body took too long")

    def switch(self) -> bytes:
        """Leave the stream to the protocol that the current request, which has no body, asks for. That protocol answers
        the request.

        Returns: what the client has sent after its request so far.
        """
        return self._head[self._head_end :]

    async def respond(self, response: Response, *, head_only: bool = False, close: bool = False) -> None:
        """Answer the current request.

        Args:
          head_only: it asked with HEAD.
          close: tell the peer that the connection ends with this.

        Raises:
          ValueError: it can't be sent: a header or the status is not HTTP's. Nothing was.
          trio.BrokenResourceError: the peer is gone or takes too long to read it, or the file has changed.
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
        events: list[h11.Event] = [head]  # which leaves with the first piece
        for at in range(part.start, part.start + part.size, WRITE_BYTES):
            piece = await trio.to_thread.run_sync(_read_piece, part, at)
            if piece is None:
                log.warning("the file %r has changed while it was sent: the response is cut off", part.path.name)
                raise trio.BrokenResourceError("the file has changed")
            await self._send(*events, h11.Data(data=piece))
            events.clear()
        await self._send(*events, h11.EndOfMessage())

    async def start(self, response: Response) -> None:
        """Begin to answer the current request; its body comes in pieces, and its length is not known.

        Raises:
          ValueError, trio.BrokenResourceError: see `respond`.
        """
        await self._send(_response_head(response, None))
        if response.body:
            await self.send(response.body)

    async def send(self, data: bytes) -> None:
        """The next piece of the body.

        Raises:
          trio.BrokenResourceError: the peer is gone, or does not read.
        """
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """That was the body."""
        await self._send(h11.EndOfMessage())

    async def wait_gone(self) -> None:
        """Wait until the peer hangs up; what else it sends meanwhile is kept for the next request."""
        while len(self._ahead) < MAX_HEAD_BYTES:
            received = await self.stream.receive_some()
            if not received:
                return
            self._ahead += received
        await trio.sleep_forever()  # it says more than it may, and is read no further

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
                    400, "malformed", "the lines of a head end with CR LF"
                )  # now: such a head may never end
            checked = len(self._ahead)
            received = await self.stream.receive_some()
            if not received:
                return False
            self._ahead += received
        self._head, self._ahead, self._head_end = self._ahead, b"", end + 4
        return True

    def _parse_head(self) -> Request:
        _check_head(self._head[: self._head_end - 2])
        try:
            self._h11.receive_data(self._head)
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, "malformed", str(exc)) from exc
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "malformed", "not a request")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            joint = "; " if key == "cookie" else ", "
            headers[key] = f"{headers[key]}{joint}{text}" if key in headers else text
        if "transfer-encoding" in headers and ("content-length" in headers or event.http_version < b"1.1"):
            # RFC 9112 section 6.1: how requests are smuggled
            raise BadRequest(400, "malformed", "a body has one length, or comes in chunks, which only this version has")
        if event.http_version < b"1.1":
            headers.pop("upgrade", None)  # RFC 9110 section 7.8
        target = event.target.decode("latin-1")
        if not HOST.fullmatch(headers.get("host", "")):
            raise BadRequest(400, "malformed", "that is no host")
        if absolute := ABSOLUTE_FORM.match(target):
            headers["host"], target = absolute[1], target[absolute.end() :]
            target = target if target.startswith("/") else f"/{target}"
            if not HOST.fullmatch(absolute[1]) or not absolute[1]:
                raise BadRequest(400, "malformed", "that is no host")
        if target == "*" and event.method == b"OPTIONS":
            return Request("OPTIONS", "*", "", headers, self._address, self._scheme)
        if not target.startswith("/"):
            raise BadRequest(400, "malformed", "the target is not a path")
        path, _, query = target.partition("?")
        return Request(event.method.decode("ascii"), path, query, headers, self._address, self._scheme)


def date_now() -> str:
    """The current time in the format of headers (RFC 9110 section 6.6.1)."""
    return _date_at(int(time.time()))


@functools.lru_cache(1)
def _date_at(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def tokens_of(value: str) -> list[str]:
    """The members of a header that is a list of tokens, in lower case."""
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
        raise ValueError(f"not a response: {exc}") from exc


def _check_head(head: bytes) -> None:
    if (version := VERSION.match(head)) and version[1] != b"1":
        raise BadRequest(505, "version", "HTTP/1.1 is spoken here")
    ends = head.count(b"\r\n")
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise BadRequest(400, "malformed", "the lines of a head end with CR LF")  # RFC 9112 section 2.2
    if CONTROL_CHARACTERS.search(head):
        raise BadRequest(400, "malformed", "a control character")
    if b"\n " in head or b"\n\t" in head:
        raise BadRequest(400, "malformed", "a header may not be folded")  # RFC 9112 section 5.2
    lengths = CONTENT_LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        raise BadRequest(400, "malformed", "two lengths")  # the same one twice, too: RFC 9110 section 8.6 lets us
    if ends > MAX_HEADERS + 1:
        raise BadRequest(431, "too_large", f"more than {MAX_HEADERS} headers")


def _read_piece(part: FilePart, at: int) -> bytes | None:
    """A piece of a file; None if the file is not the same any more. The file is open only meanwhile: a thousand clients
    that read slowly hold no files."""
    try:
        with part.path.open("rb") as file:
            if version_of(os.fstat(file.fileno())) != part.version:
                return None
            file.seek(at)
            return file.read(min(part.start + part.size - at, WRITE_BYTES))
    except OSError:
        return None


def sentence_of(body: bytes) -> str:
    """The sentence of a refusal: its ``message``, if the body is JSON that has one, as a server of ours sends it."""
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        text = str(json.loads(text)["message"])
    return text[:300]


class HttpClient(_Writer):
    """One connection to a server, for requests in turn.

    Args:
      stream: connected already.
      host: what the Host header says.
    """

    def __init__(self, stream: trio.abc.Stream, host: str) -> None:
        super().__init__(stream)
        self.last_received_at = trio.current_time()
        """The time at which the last byte came in."""
        self._host = host
        self._h11 = h11.Connection(h11.CLIENT)

    @property
    def reusable(self) -> bool:
        """True if another request may follow on this connection."""
        return (self._h11.our_state, self._h11.their_state) in ((h11.IDLE, h11.IDLE), (h11.DONE, h11.DONE))

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        """Send a request, and read the head of its response: the status and the headers.

        Raises:
          trio.BrokenResourceError: the server is gone, or does not answer in HTTP.
        """
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        length = {"content-length": str(len(body))} if method == "POST" else {}
        lines = {"host": self._host, "accept": "*/*", **headers, **length}
        await self._send(
            h11.Request(method=method, target=path, headers=list(lines.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event.status_code, {
                    name.decode("ascii"): value.decode("latin-1") for name, value in event.headers
                }
            if not isinstance(event, h11.InformationalResponse):
                raise trio.BrokenResourceError("the server has hung up")

    async def receive(self) -> bytes:
        """The next piece of the response's body; empty at its end.

        Raises:
          trio.BrokenResourceError: it broke off.
        """
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return b""
        raise trio.BrokenResourceError("the response broke off")

    async def receive_all(self) -> bytes:
        """The response's whole body, up to a megabyte.

        Raises:
          trio.BrokenResourceError: it broke off, or is larger.
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
