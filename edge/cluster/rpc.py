"""Calls between servers, with plain data as arguments and results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

import attrs
import trio

from ..aio.guard import guarded
from ..errors import BrokerDown
from .link import PeerLinks, PeerMessage

# Seconds within which another server has to answer a call.
ANSWER_SECONDS = 5.0

ASK, ANSWER, TELL = "ask", "answer", "tell"

Answerer = Callable[..., Awaitable[Any]]


@attrs.define(eq=False)
class _Asked:
    """A call that is not answered yet."""

    server: str
    answers: list[Any] = attrs.field(factory=list)
    """The answer, once it has arrived; empty until then."""
    over: trio.Event = attrs.field(factory=trio.Event)


class NodeRpc:
    """Calls from this server to others, and from others to it."""

    def __init__(self, peer_links: PeerLinks) -> None:
        self._peer_links = peer_links
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._answerers: dict[str, Answerer] = {}
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Answer the calls of other servers, for ever."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def answer(self, what: str, answerer: Answerer) -> None:
        """Register the function that answers the calls, and handles the notices, that are named `what`."""
        self._answerers[what] = answerer

    async def ask(self, server: str, what: str, *arguments: Any) -> Any:
        """Call another server, and return its answer.

        Raises:
          BrokerDown: no answer arrived within `ANSWER_SECONDS`, or the link was lost.
        """
        number, asked = next(self._numbers), _Asked(server)
        self._asked[number] = asked
        self._peer_links.put(server, [ASK, number, what, [*arguments]])
        try:
            with trio.move_on_after(ANSWER_SECONDS):
                await asked.over.wait()
        finally:
            del self._asked[number]
        if not asked.answers:
            raise BrokerDown(f"server {server} did not answer")
        return asked.answers[0]

    def tell(self, servers: Iterable[str], what: str, *arguments: Any) -> None:
        """Send a notice, a call without an answer, to several servers. Never waits. A notice may be lost."""
        for server in servers:
            self._peer_links.put(server, [TELL, what, [*arguments]])

    def take(self, sender: str, message: PeerMessage) -> bool:
        """Handle a message from another server. Return False if it is not a call, an answer or a notice."""
        match message:
            case [kind, number, what, arguments] if kind == ASK:
                reply = partial(self._reply, sender, number, what, arguments)
                self._nursery.start_soon(guarded, f"the answer to {what!r}", reply)
            case [kind, number, answer] if kind == ANSWER:
                asked = self._asked.get(number)
                if asked is not None and asked.server == sender:
                    asked.answers.append(answer)
                    asked.over.set()
            case [kind, what, arguments] if kind == TELL:
                told = partial(self._answerers[what], *arguments)
                self._nursery.start_soon(guarded, f"the notice {what!r}", told)
            case _:
                return False
        return True

    def lose(self, server: str) -> None:
        """End the unanswered calls to a server: `ask` raises `BrokerDown`."""
        for asked in self._asked.values():
            if asked.server == server:
                asked.over.set()

    async def _reply(self, sender: str, number: int, what: str, arguments: list[Any]) -> None:
        self._peer_links.put(sender, [ANSWER, number, await self._answerers[what](*arguments)])
