"""Peer links: ordered messages, in batches, from one server to another.

Each message arrives exactly once, or both servers learn that messages were lost. Messages that are queued while a batch
is being sent form the next batch. A batch has three parts: first messages that open relayed connections, then frames,
then all other messages. Within each part, messages keep their order. A broker may lose batches if it fails. It drops
the unread batches of a server that does not renew its leases in time. Batches are numbered, so that the receiver
notices a missing batch. After such a loss, both servers start a new epoch, in which the numbers start again. The two
servers then end the relayed connections, forwarded requests and calls between them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
import trio

from ..aio.outage_log import AGAIN_SECONDS, OutageLog
from ..aio.wakeup import WakeUp
from ..errors import BrokerDown
from ..protocol.codec import MESSAGEPACK, Frame, size_of
from .broker.broker import Broker, Mailbox

log: logging.Logger = logging.getLogger("edge.servers")

# The maximum number of bytes that may wait for a server while the broker can't be reached.
MAX_WAITING_BYTES = 32 * 1024 * 1024

PeerMessage = list[Any]

# The message that asks another server to start a new epoch, because one of its batches was lost.
RESTART = "restart"


@attrs.define(eq=False)
class _Out:
    """The unsent messages to one server."""

    epoch: int
    """The number of the epoch, which grows after each loss of messages."""
    number: int = 0
    """The number of the newest batch of this epoch."""
    opening: list[bytes] = attrs.field(factory=list)
    up: dict[int, list[Frame]] = attrs.field(factory=dict)
    down: dict[int, list[Frame]] = attrs.field(factory=dict)
    closing: list[bytes] = attrs.field(factory=list)
    waiting_bytes: int = 0
    frames: set[int] = attrs.field(factory=set)
    """The `id` of each waiting frame. A frame for many links is sent once, and counts once."""

    def batch(self, sender: str) -> bytes:
        """Remove all waiting messages, and return them packed into one batch."""
        self.number += 1
        written = [sender, self.epoch, self.number, self.opening, _grouped(self.up), _grouped(self.down), self.closing]
        self.opening, self.up, self.down, self.closing = [], {}, {}, []
        self.waiting_bytes = 0
        self.frames.clear()
        return _packed(written)


@attrs.define(eq=False)
class _In:
    """The state of the batches that arrive from one server."""

    epoch: int
    number: int = 0
    lost: bool = False
    """True if a batch of this epoch is missing. Later batches of the epoch are dropped."""


class PeerLinks:
    """The peer links between this server and all others.

    Args:
      me: the name of this server.
      take: called with the sender's name and a message, for each message that arrives.
      take_frames: called with frames that arrive. Its arguments are the sender's name, True for frames to a room or
        False for frames to a client, the numbers of the links, and the frames.
      lose: called with the name of a server after messages to it or from it were lost.
    """

    def __init__(
        self,
        broker: Broker,
        me: str,
        *,
        take: Callable[[str, PeerMessage], object],
        take_frames: Callable[[str, bool, list[int], list[Frame]], object],
        lose: Callable[[str], object],
    ) -> None:
        self._broker, self._me = broker, me
        self._take, self._take_frames, self._tell_lost = take, take_frames, lose
        self._out: dict[str, _Out] = {}
        self._in: dict[str, _In] = {}
        self._epoch = 0
        self._ready: dict[str, None] = {}
        self._unsent, self._unheard = (
            OutageLog("no messages are sent to other servers"),
            OutageLog("no messages of other servers are received"),
        )
        self._wake_up = WakeUp()

    def put(self, server: str, message: PeerMessage, *, opening: bool = False) -> None:
        """Queue a message for a server. Never waits.

        Args:
          opening: True to send the message before the frames of its batch; False to send it after the frames.

        Raises:
          TypeError: the message is not plain data.
        """
        packed, out = _packed(message), self._to(server)  # packed now, so that an error is raised in the caller
        (out.opening if opening else out.closing).append(packed)
        self._note(server, out, len(packed))

    def put_frames(self, server: str, link: int, frames: list[Frame], *, up: bool) -> None:
        """Queue frames of a relayed connection. Never waits.

        Args:
          up: True if the frames go to the room's server; False if they go to the client's server.
        """
        out = self._to(server)
        (out.up if up else out.down).setdefault(link, []).extend(frames)
        size = 0
        for frame in frames:
            if id(frame) not in out.frames:
                out.frames.add(id(frame))
                size += size_of(frame)
        self._note(server, out, size)

    def pulse(self) -> None:
        """Queue a batch, even without messages, for every server to which messages were sent earlier.

        From the number of this batch, the receiver notices that an earlier batch was lost.
        """
        for server in self._out:
            self._ready[server] = None
            self._wake_up.wake()

    def lose(self, server: str) -> None:
        """Start a new epoch with a server, and ask it to do the same, after messages to it or from it were lost."""
        self._lose(server)
        known = self._in.get(server)
        if known is not None:
            known.lost = True
            packed = _packed([RESTART, known.epoch])
            self._to(server).closing.append(packed)  # not sent now, because the broker may be unreachable

    def forget(self, servers: frozenset[str]) -> None:
        """End and delete the links with these servers, which are gone."""
        for server in sorted((self._out.keys() | self._in.keys()) & servers):
            self._lose(server)
            self._out.pop(server, None)
            self._in.pop(server, None)

    @property
    def servers(self) -> frozenset[str]:
        """The servers to which messages were sent, or from which messages arrived."""
        return frozenset(self._out.keys() | self._in.keys())

    async def send(self) -> None:
        """Send queued messages, for ever."""
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()
            else:
                await self._wake_up.wait()
            epochs = {server: self._to(server).epoch for server in self._ready}
            batches = {server: self._to(server).batch(self._me) for server in self._ready}
            self._ready = {}
            while batches:
                try:
                    there = await self._broker.send(batches)
                except BrokerDown as exc:
                    self._unsent.note(exc)
                    await trio.sleep(AGAIN_SECONDS)
                else:
                    self._unsent.over()
                    break
                batches = {
                    server: batch for server, batch in batches.items() if self._epoch_of(server) == epochs[server]
                }
            for server in batches:
                if server not in there and self._epoch_of(server) == epochs[server]:
                    self.lose(server)

    async def receive(self, mailbox: Mailbox) -> None:
        """Receive and handle batches, for ever."""
        while True:
            try:
                batches = await mailbox.receive()
            except BrokerDown as exc:
                self._unheard.note(exc)
                await trio.sleep(AGAIN_SECONDS)
                continue
            self._unheard.over()
            for batch in batches:
                try:
                    self._open(batch)
                except Exception:  # a batch that edge did not write must not end this task
                    log.exception("a batch of messages from another server can't be read, and is dropped")

    def _open(self, batch: bytes) -> None:
        sender, epoch, number, opening, up, down, closing = MESSAGEPACK.decode(batch)
        known = self._in.get(sender)
        if known is None or epoch > known.epoch:
            if known is not None:
                self._tell_lost(sender)
            known = self._in[sender] = _In(epoch)
        if epoch < known.epoch or number <= known.number:
            return
        if known.lost:  # the sender still uses the old epoch: it may not have received `RESTART`, so send it again
            self.put(sender, [RESTART, epoch])
            return
        if number != known.number + 1:
            log.warning("messages from server %s were lost, so relayed connections and forwarded requests end", sender)
            self._restart(sender)
            return
        known.number = number
        for packed in opening:
            self._give(sender, packed)
        try:
            for frames, goes_up in ((up, True), (down, False)):
                for links, run in frames:
                    self._take_frames(sender, goes_up, links, run)
        except Exception:
            log.exception(
                "frames from server %s caused an error, so relayed connections and forwarded requests end", sender
            )
            self._restart(sender)
            return
        for packed in closing:
            self._give(sender, packed)

    def _give(self, sender: str, packed: bytes) -> None:
        """Handle one message of a batch. Log an error instead of raising it, so that the next messages are handled."""
        try:
            message = MESSAGEPACK.decode(packed)
            if message[0] != RESTART:
                self._take(sender, message)
            elif message[1] == self._epoch_of(sender):
                self._lose(sender)
        except Exception:
            log.exception("a message from server %s caused an error, and is dropped", sender)

    def _restart(self, sender: str) -> None:
        self.lose(sender)
        self._ready[sender] = None
        self._wake_up.wake()

    def _lose(self, server: str) -> None:
        self._epoch += 1
        if server in self._out:
            self._out[server] = _Out(self._epoch)
        self._tell_lost(server)

    def _to(self, server: str) -> _Out:
        out = self._out.get(server)
        if out is None:
            self._epoch += 1
            out = self._out[server] = _Out(self._epoch)
        return out

    def _epoch_of(self, server: str) -> int:
        return self._out[server].epoch if server in self._out else 0

    def _note(self, server: str, out: _Out, size: int) -> None:
        out.waiting_bytes += size
        if out.waiting_bytes > MAX_WAITING_BYTES:
            log.warning("too many bytes wait for server %s, so relayed connections and forwarded requests end", server)
            self.lose(server)
        self._ready[server] = None
        self._wake_up.wake()


def _packed(plain: Any) -> bytes:
    packed = MESSAGEPACK.encode(plain)
    assert isinstance(packed, bytes)
    return packed


def _grouped(frames: dict[int, list[Frame]]) -> list[tuple[list[int], list[Frame]]]:
    """Group the links that get the same frames, so that the frames of a broadcast are sent once."""
    groups: dict[tuple[int, ...], tuple[list[int], list[Frame]]] = {}
    for link, run in frames.items():
        groups.setdefault(tuple(map(id, run)), ([], run))[0].append(link)
    return [*groups.values()]
