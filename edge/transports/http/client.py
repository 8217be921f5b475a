"""The client side of an HTTP transport."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from ...codes import Code
from ...errors import RemoteProtocolError
from ...protocol.codec import Frame
from ...protocol.limits import Limits
from ...protocol.records import Closed, Records, record
from .http import HttpClient, sentence_of
from .redirects import Redirected, check_redirect
from .transport import BODY, CODE, CONNECTION, FIRST, HAS, HOLD_SECONDS, MODE, POST_BYTES, PROTOCOL, HttpTransport, Mode

# The maximum time to connect, and for a POST request, in seconds. A GET request fails if no byte arrives during
# this time after the time for which the server may hold the request.
REQUEST_SECONDS = 10.0
# The number of failures in a row after which the transport breaks, and the unit of the pauses between attempts, in
# seconds.
MAX_FAILURES = 3
PAUSE_SECONDS = 0.2

Dial = Callable[[], Awaitable[trio.abc.Stream]]
Follow = Callable[[Redirected], tuple[str, str]]


def follow_nothing(redirect: Redirected) -> tuple[str, str]:
    """Reject a redirect.

    Raises:
      OSError: always.
    """
    raise OSError(str(redirect))


class ClientHttpTransport(HttpTransport):
    """The client side of an HTTP transport. Made by `open_http_transport`."""

    def __init__(
        self,
        dial: Dial,
        host: str,
        path: str,
        name: str,
        mode: Mode,
        *,
        subprotocol: str,
        limits: Limits,
        headers: Mapping[str, str],
        follow: Follow,
    ) -> None:
        super().__init__()
        self.reached: bool = False
        """True once the server, or a proxy in front of the server, has answered."""
        self._dial = dial
        self._host = host
        self._path = path
        self._headers = {**headers, CONNECTION: name, PROTOCOL: subprotocol}
        self._follow = follow
        self._mode = mode
        self.max_bytes: int = limits.read_bytes
        self._goodbye = b""
        self._posted = trio.Event()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._closed:
            self._closed, self._goodbye = True, record(Closed(code))
            self._note_change()
        if self.over:
            await trio.lowlevel.checkpoint()
        else:
            await self._posted.wait()

    async def get_all(self) -> None:
        """Receive the server's frames until the transport has ended."""
        await self._repeat(self._get)

    async def post_all(self) -> None:
        """Send this side's frames until the transport has ended."""
        try:
            await self._repeat(self._post)
        finally:
            self._posted.set()

    async def _repeat(self, request: Callable[[HttpClient], Awaitable[None]]) -> None:
        """Send requests, on one connection after another.

        After `MAX_FAILURES` failures in a row, the transport breaks.
        """
        failures = 0
        while not self._done():
            before, asked = (self.received, self._gone), (self._host, self._path)
            try:
                with trio.fail_after(REQUEST_SECONDS):
                    stream = await self._dial()
                async with stream:
                    client = HttpClient(stream, self._host)
                    while client.reusable and not self._done():
                        await request(client)
                        failures = 0
            except RemoteProtocolError as exc:
                self.close_by_peer(exc.code, str(exc))
            except Redirected as exc:
                try:
                    if asked == (self._host, self._path):  # otherwise, the other task has already followed a redirect
                        self._host, self._path = self._follow(exc)
                except OSError as refusal:
                    self.fault: str = str(refusal)
                    self._break()
            except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                self.fault = str(exc) or "the server does not answer"
                failures = 0 if (self.received, self._gone) != before else failures + 1
                if failures >= MAX_FAILURES:
                    self._break()
                    return
                if self.on_doubt is not None:  # the server may have died, and the next request may hang
                    self.on_doubt()
                if failures > 1:  # the first failure may only mean that the server has closed an idle connection
                    await trio.sleep(PAUSE_SECONDS * 2**failures)

    def _done(self) -> bool:
        return self.over or self._posted.is_set()

    async def _get(self, client: HttpClient) -> None:
        """Send a GET request, and receive the frames of its response.

        Raises:
          trio.TooSlowError: no byte arrived for longer than the server may hold a GET.
        """
        records = Records(self.max_bytes)
        headers = {**self._headers, MODE: self._mode.value, HAS: str(self.received)}
        timeout = HOLD_SECONDS * 1.1 + REQUEST_SECONDS
        with trio.fail_after(timeout) as scope:
            began, before = trio.current_time(), self.received
            await self._check(client, *await client.request("GET", self._path, headers), body=BODY)
            while data := await client.receive():
                self._last_received_at = trio.current_time()
                scope.deadline = math.inf  # `_take` waits for this side, not for the server
                records.max_bytes = self.max_bytes
                for item in _read(records, data):
                    await self._take(self.received, item)
                scope.deadline = trio.current_time() + timeout
        if trio.current_time() < began + PAUSE_SECONDS and self.received == before:
            await trio.sleep(PAUSE_SECONDS)  # a proxy may answer at once; a closed transport accepts no frames

    async def _post(self, client: HttpClient) -> None:
        """Wait until there are frames to send, and send these frames in a POST request."""
        while not (self._going or self._goodbye):
            await self._changed.wait()
            if self.over:
                return
        first, parts = self._gone, self._after(self._gone)
        while len(parts) > 1 and sum(map(len, parts)) > POST_BYTES:
            del parts[len(parts) // 2 :]
        goodbye = self._goodbye if len(parts) == len(self._going) else b""
        body = b"".join(parts) + goodbye
        headers = {**self._headers, FIRST: str(first), HAS: str(self.received), "content-type": BODY}
        with trio.fail_after(REQUEST_SECONDS):
            await self._check(client, *await client.request("POST", self._path, headers, body), body="text/plain")
            answer = await client.receive_all()
        self._last_received_at = trio.current_time()
        if not (answer.isdigit() and len(answer) <= 15 and first <= int(answer) <= first + len(self._going)):
            raise trio.BrokenResourceError("the answer to a POST is not a valid count of frames")
        self._acknowledge(int(answer))
        if goodbye and not self._going:
            self._posted.set()
        elif self._gone == first and parts:
            await trio.sleep(PAUSE_SECONDS)  # the room is busy, and has not accepted a frame

    async def _check(self, client: HttpClient, status: int, headers: dict[str, str], *, body: str) -> None:
        """Check that a response is a success and was sent by the server, not by a proxy.

        Args:
          body: the content type of the server's answers. The login page of a proxy has another type.

        Raises:
          RemoteProtocolError: the server refused the request; `code` is the reason.
          Redirected: the response is a redirect.
          trio.BrokenResourceError: the response is not a success. Another attempt may succeed.
        """
        self._last_received_at = trio.current_time()
        self.reached = True
        code = headers.get(CODE, "")
        if re.fullmatch("[0-9]{4}", code):
            said = await client.receive_all()
            raise RemoteProtocolError(sentence_of(said) or f"HTTP {status}", Code.of(int(code)))
        check_redirect(status, headers)
        if status != 200 or not headers.get("content-type", "").startswith(body):
            raise trio.BrokenResourceError(f"HTTP {status}")


@asynccontextmanager
async def open_http_transport(
    dial: Dial,
    host: str,
    path: str,
    name: str,
    mode: Mode,
    *,
    subprotocol: str,
    limits: Limits,
    headers: Mapping[str, str] | None = None,
    follow: Follow = follow_nothing,
) -> AsyncIterator[ClientHttpTransport]:
    """Run an HTTP transport while a block runs.

    An error of the block propagates unchanged, not in an exception group.

    Args:
      dial: opens a byte stream to the server.
      host: the value of the Host header.
      path: the path of the room.
      name: the name of the transport. The name must be random, so that other clients cannot guess it.
      headers: additional headers of each request.
      follow: returns the host and path to which a redirect leads, or raises `OSError` to reject the redirect.

    Raises:
      OSError: the server can't be reached.
    """
    transport = ClientHttpTransport(
        dial, host, path, name, mode, subprotocol=subprotocol, limits=limits, headers=headers or {}, follow=follow
    )
    fault: Exception | None = None
    carrying = trio.CancelScope(shield=True)  # shielded, so that a cancelled block still sends its goodbye

    async def carry() -> None:
        with carrying:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.get_all)
                nursery.start_soon(transport.post_all)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry)
        try:
            yield transport
        except Exception as exc:
            fault = exc
        finally:
            carrying.cancel("the transport is over")
    if isinstance(fault, trio.BrokenResourceError) and not transport.reached:
        raise OSError(f"the server can't be reached: {transport.fault}") from fault
    if fault is not None:
        raise fault


def _read(records: Records, data: bytes) -> list[Frame | Closed]:
    try:
        return list(records.feed(data))
    except RemoteProtocolError as exc:
        if exc.code is Code.TOO_LARGE:
            raise
        raise trio.BrokenResourceError(f"a response contains an invalid record: {exc}") from exc
