"""Helpers for plain HTTP requests over a network in memory."""

from __future__ import annotations

import json
from typing import Any

import attrs
import trio

from edge.transports.http.http import HttpClient
from tests.network import Network


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The number of the code of a refusal, as text; an empty string if the response is no refusal."""
        return self.headers.get("edge-code", "")


async def ask(
    network: Network, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Send one request on its own connection, and return the response."""
    stream = await network.connect()
    async with stream:
        client = HttpClient(stream, "edge.test")
        with trio.fail_after(60):
            status, found = await client.request(method, path, headers or {}, body)
            return Answer(status, found, await client.receive_all())
