"""HTTP/1.1 through h11: the only file that knows it. One request at a time, read whole, answered whole.

h11 lets through what front ends and back ends read differently (a bare LF, folded headers, Content-Length beside
Transfer-Encoding): the way requests are smuggled. Those are refused here before h11 sees them.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import attrs
import h11
import trio

# A head with a large cookie fits; a header bomb does not.
MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_BODY_BYTES = 1024 * 1024
# RFC 9112 section 3.2.2: a client may name us in front of the path.
ABSOLUTE_FORM = re.compile(r"^https?://[^/?]*", re.IGNORECASE)
# A peer that does not read this much within this time is let go.
WRITE_BYTES = 64 * 1024
WRITE_SECONDS = 10.0
PHRASES = {status.value: status.phrase for status in HTTPStatus}
# How long a body may take to arrive.
BODY_SECONDS = 30.0


@attrs.frozen
class Request:
    """One HTTP request."""

    method: str
    raw_path: str
    """The path as it was sent, still encoded."""
    raw_query: str
    """What followed the question mark, still encoded."""
    headers: dict[str, str]
    """By lower-case name; repeated ones are joined by commas (RFC 9110 section 5.3)."""
    body: bytes = b""

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; the last value of each name."""
        return dict(parse_qsl(self.raw_query))


@attrs.frozen
class Response:
    """One HTTP response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = attrs.field(factory=dict)
    """Further headers."""


def json_response(plain: Any, *, status: int = 200) -> Response:
    """A response of plain data as JSON."""
    return Response(status, json.dumps(plain, allow_nan=False).encode(), "application/json")


def redirect(location: str) -> Response:
    """Send the browser elsewhere; it asks again each time (302)."""
    return Response(302, headers={"location": quote(location, safe="/:?#[]@!$&'()*+,;=%")})


def error_response(status: int, code: str, message: str) -> Response:
    """A refusal that a program and a person can both read."""
    return json_response({"code": code, "message": message}, status=status)


Answer = tuple[h11.Response, h11.Data, h11.EndOfMessage]


def answer_of(response: Response, *, head_only: bool = False, close: bool = False) -> Answer:
    """A response as it will be sent.

    Raises:
      ValueError: it can't be: a header or the status is not HTTP's.
    """
    headers = {
        "content-type": response.content_type,
        "content-length": str(len(response.body)),
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
        **response.headers,
    }
    if close:
        headers["connection"] = "close"
    if response.status == 304:
        del headers["content-length"], headers["content-type"]
    reason = PHRASES.get(response.status, "")
    try:
        head = h11.Response(status_code=response.status, headers=list(headers.items()), reason=reason)
    except h11.LocalProtocolError as exc:
        raise ValueError(f"not a response: {exc}") from exc
    body = b"" if head_only or response.status == 304 else response.body
    return head, h11.Data(data=body), h11.EndOfMessage()


class BadRequest(Exception):  # it is answered, not raised to anybody
    """A request that can't be served; `response` is the answer, after which the connection closes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = error_response(status, code, message)


class HttpConnection:
    """The requests of one connection, in turn.

    After `next_request` has returned one, either `respond` to it, or take `head` and the stream for another protocol.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.head = b""
        """The bytes of the current request's head and of what followed it so far."""
        self._head_end = 0
        self._ahead = b""
        self._h11 = h11.Connection(h11.SERVER)

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def next_request(self, *, seconds: float) -> Request | None:
        """The next request without its body; None if the peer is gone.

        Raises:
          BadRequest: it can't be served.
        """
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        with trio.move_on_after(seconds):
            if not await self._read_head():
                return None
            return self._parse_head()
        if self._ahead:
            raise BadRequest(408, "late", "the request took too long")
        return None

    async def read_body(self, request: Request) -> Request:
        """The request with its body.

        Raises:
          BadRequest: the body is too large, too slow, or not what its headers say.
        """
        parts: list[bytes] = []
        with trio.move_on_after(BODY_SECONDS):
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
                    return attrs.evolve(request, body=b"".join(parts))
                if isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                if sum(map(len, parts)) > MAX_BODY_BYTES:
                    raise BadRequest(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
        raise BadRequest(408, "late", "the body took too long")

    async def respond(self, answer: Answer) -> None:
        """Answer the current request.

        Raises:
          trio.BrokenResourceError: the peer is gone, or does not read.
        """
        await self._send(*answer)

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        for start in range(0, len(data), WRITE_BYTES):
            with trio.move_on_after(WRITE_SECONDS) as patience:
                await self.stream.send_all(data[start : start + WRITE_BYTES])
            if patience.cancelled_caught:
                raise trio.BrokenResourceError("the peer does not read")

    async def _read_head(self) -> bool:
        while (end := self._ahead.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)) < 0:
            if len(self._ahead) >= MAX_HEAD_BYTES:
                raise BadRequest(431, "too_large", f"the head is larger than {MAX_HEAD_BYTES} bytes")
            received = await self.stream.receive_some()
            if not received:
                return False
            self._ahead += received
        self.head, self._ahead, self._head_end = self._ahead, b"", end + 4
        return True

    def _parse_head(self) -> Request:
        _check_head(self.head[: self._head_end - 2])
        try:
            self._h11.receive_data(self.head)
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, "malformed", str(exc)) from exc
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "malformed", "not a request")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        if "transfer-encoding" in headers:
            # Chunks are where h11 and others disagree on line ends and trailers (RFC 9112 section 6.3 allows this)
            raise BadRequest(411, "length", "a body needs a Content-Length")
        target = ABSOLUTE_FORM.sub("", event.target.decode("latin-1"))
        if not target.startswith("/"):
            raise BadRequest(400, "malformed", "the target is not a path")
        path, _, query = target.partition("?")
        return Request(event.method.decode("ascii"), path, query, headers)


def _check_head(head: bytes) -> None:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", head):
        raise BadRequest(400, "malformed", "lines end with CR LF")  # RFC 9112 section 2.2
    if re.search(rb"\n[ \t]", head):
        raise BadRequest(400, "malformed", "a header may not be folded")  # RFC 9112 section 5.2
    if head.count(b"\n") > MAX_HEADERS + 1:
        raise BadRequest(431, "too_large", f"more than {MAX_HEADERS} headers")
