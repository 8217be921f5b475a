"""The connection machine: the rules of the protocol for one transport, without I/O and without a clock.

`CONVERSATION` is the complete state table. Both sides use the same table, for sent and for received messages. `SENDER`
lists the messages that only one side may send.
"""

from __future__ import annotations

import enum
import math

import attrs

from ..codes import Code
from ..errors import InvalidEvent, LocalProtocolError, RemoteProtocolError
from .clock import Clock
from .codec import Codec, Frame, size_of
from .counts import Counts
from .limits import Limits
from .messages import (
    SIGNS,
    UNCOUNTED_SIGNS,
    Ack,
    Bye,
    Cancel,
    Error,
    Event,
    Hello,
    Message,
    Part,
    Patch,
    Ping,
    Reply,
    Request,
    Welcome,
    from_plain,
    is_counted,
    to_plain,
)
from .pace import Pace


class Side(enum.Enum):
    """One of the two sides of a connection."""

    CLIENT = "client"
    SERVER = "server"


class State(enum.Enum):
    """The state of a connection: before the hello, before the welcome, open, or closed."""

    SILENT = "silent"
    GREETED = "greeted"
    OPEN = "open"
    CLOSED = "closed"


CONVERSATION: dict[State, dict[type[Message], State]] = {
    State.SILENT: {Hello: State.GREETED, Bye: State.CLOSED},
    State.GREETED: {Ping: State.GREETED, Welcome: State.OPEN, Bye: State.CLOSED},
    State.OPEN: {
        Event: State.OPEN,
        Request: State.OPEN,
        Reply: State.OPEN,
        Part: State.OPEN,
        Cancel: State.OPEN,
        Error: State.OPEN,
        Patch: State.OPEN,
        Ack: State.OPEN,
        Ping: State.OPEN,
        Bye: State.CLOSED,
    },
    State.CLOSED: {},
}

SENDER: dict[type[Message], Side] = {Hello: Side.CLIENT, Welcome: Side.SERVER, Patch: Side.SERVER}

# `latest` and `volatile` events are read at up to this multiple of the pace. Beyond the pace, such events are not
# delayed but marked as `too_fast`.
SPARE = 10
# Seconds between the first two pings that measure the peer's clock. Each further interval is twice as long.
CLOCK_SECONDS = 0.25
# Seconds of silence that end the connection while a ping of `Connection.check` is unanswered.
CHECK_SECONDS = 3.0
# The maximum number of unanswered pings that are stored. Answers to other pings are ignored.
MAX_PINGED = 8


class Connection:
    """The state machine of one connection. It takes frames and times, and returns messages and frames.

    Args:
      side: the side that uses this object.
      codec: decodes and encodes the frames.
      now: the current time in seconds, on a monotonic clock.
      limits: sizes, rates and times.
    """

    def __init__(self, side: Side, codec: Codec, *, now: float, limits: Limits) -> None:
        self.side = side
        self.codec = codec
        self.limits: Limits = limits
        self.state: State = State.SILENT
        self.counts: Counts = Counts(limits.window_frames, limits.window_bytes)
        self.clock: Clock = Clock()
        """The peer's clock."""
        self.epoch: float = 0.0
        """The time at which the clock that this side reports to the peer was 0."""
        self._lenient = side is Side.CLIENT  # a client ignores unknown fields, which a newer server may send
        self._resuming = False
        self._hello_at = now
        self._asked: float | None = None
        self._pinged: list[float] = []
        self._ping_wait = math.inf
        self._checked_at = math.inf
        """The time of an unanswered ping of `check`; infinite if there is none."""
        self._acked_to_peer = 0
        self._message_bytes = limits.message_bytes
        self._ack_frames, self._ack_bytes = limits.most_unacked
        self._bytes_since_ack = 0
        self.ack_due: float = math.inf
        """The time at which an ack is due."""
        self.ping_due: float = math.inf
        """The time at which a ping is due."""
        self._last_received_at = now
        rate = limits.events_per_second if side is Side.SERVER else math.inf  # a client does not limit its server
        self._pace = Pace(rate, limits.events_burst)
        self._spare = Pace(SPARE * rate, SPARE * limits.events_burst)
        self._bytes = Pace(limits.bytes_per_second if side is Side.SERVER else math.inf, limits.bytes_burst)
        self._paced = not (self._pace.unlimited and self._bytes.unlimited)
        self._over_since = math.inf
        """The time since which the window is exceeded; infinite if it is not exceeded."""
        self.next_read_at: float = now
        """The earliest time at which the pace of the connection allows the next frame to be read."""
        self.throttled = False
        """True once the driver has sent `too_fast` to the peer."""

    def receive(self, frame: Frame, *, now: float, size: int | None = None) -> Message | None:
        """Process a received frame. Return its message, or None for an ack, a ping, or a frame after a goodbye.

        Args:
          size: the size of the frame in bytes, if the caller knows it.

        Raises:
          InvalidEvent: the message is unusable. It was counted if its sender counted it. The connection continues.
          RemoteProtocolError: the connection must end. `code` is the code for the goodbye.
        """
        if now > self._last_received_at:
            self._last_received_at = now
        if self.state is State.CLOSED:
            return None
        if size is None:
            size = size_of(frame)
        try:
            if self.state is not State.OPEN or size > self._message_bytes:
                self._check_size(size)
            message = from_plain(self.codec.decode(frame), size, self._lenient)
        except InvalidEvent as exc:
            raise self._unusable(exc, frame, size, now) from exc
        if type(message) is Event and self.state is State.OPEN:  # nearly all messages are events, which change no state
            if message.counted:
                self._count_received(size, now)
                if self._paced:
                    self.next_read_at = self._note_pace(size, now)
            elif self._pace.allows(now) and self._bytes.allows(now):
                self._note_pace(size, now)
            else:
                message.too_fast = True
                self.next_read_at = max(self._spare.take(now), self._bytes.take(now, size // SPARE))
            return message
        self.next_read_at = self._note_pace(size, now)
        self._advance(message, by=_other(self.side), error=RemoteProtocolError)
        if isinstance(message, Ack):
            self._receive_ack(message, now)
            return None
        if isinstance(message, Ping):
            if self.state is not State.OPEN:  # the room is not ready yet: the client waits longer for its welcome
                return message
            self._check_ping(message.count, now)
            self._asked = message.asked
            return None
        if isinstance(message, Welcome):
            self._receive_welcome(message, now)
        elif is_counted(message):
            self._count_received(size, now)
        return message

    def send(self, message: Hello | Welcome | Bye | Ping, *, now: float) -> Frame:
        """Return the frame of a message that opens or ends the connection, or of a ping before the welcome.

        Raises:
          LocalProtocolError: this side may not send the message in the current state.
        """
        self._advance(message, by=self.side, error=LocalProtocolError)
        if isinstance(message, Welcome):
            self._open(now)
        elif isinstance(message, Hello):
            self._resuming, self._hello_at = message.received is not None, now
        return self.codec.encode(to_plain(message))

    def follow(self, earlier: Connection, now: float) -> None:
        """Continue with the pace of the seat's previous connection.

        The client gets an allowance, at most one window, for messages that it stored while it was not connected.
        """
        self._pace, self._spare, self._bytes, self._paced = (
            earlier._pace,
            earlier._spare,
            earlier._bytes,
            earlier._paced,
        )
        self.next_read_at = earlier.next_read_at
        self._pace.allow(earlier._last_received_at, now, self.limits.window_frames)
        self._bytes.allow(earlier._last_received_at, now, self.limits.window_bytes)

    def ask_clock(self, now: float) -> bool:
        """Start a series of more frequent pings, which measure the peer's clock.

        Returns: True if this call started a series.
        """
        if self.state is not State.OPEN or self._ping_wait < math.inf:
            return False
        self.ping_due, self._ping_wait = now, CLOCK_SECONDS
        return True

    def check(self, now: float) -> bool:
        """Make a ping due now, because the peer may be gone. Until the answer, 3 s of silence end the connection.

        Returns: False if an earlier ping of this method is unanswered, or if the connection is not open.
        """
        if self.state is not State.OPEN or self._checked_at < math.inf:
            return False
        self.ping_due, self._checked_at = now, self._time(now) + self.epoch
        return True

    def note_confirmed(self, now: float) -> None:
        """Make an ack due now, if more messages can be acknowledged than in the previous ack."""
        if self.state is State.OPEN and self.counts.acknowledgeable > self._acked_to_peer:
            self.ack_due = now

    @property
    def low_rate_at(self) -> float:
        """The time from which the peer may send half of `Limits.bytes_burst` at once."""
        return self._bytes.half_free_at()

    def note_received(self, now: float) -> None:
        """Record that bytes of the peer arrived at `now`, even if they are not a complete frame."""
        if now > self._last_received_at:
            self._last_received_at = now

    @property
    def next_due(self) -> float:
        """The next time at which `due` must be called."""
        return min(self.ack_due, self.pulse_due) if self.state is State.OPEN else math.inf

    @property
    def pulse_due(self) -> float:
        """The time at which a ping is due, or at which silence or an exceeded window ends the connection."""
        if self.state is not State.OPEN:
            return math.inf
        return min(self.ping_due, self.dead_at, self._over_since + self.limits.write_seconds)

    @property
    def dead_at(self) -> float:
        """The time at which the connection ends unless bytes arrive earlier."""
        dead_at = self._last_received_at + self.limits.dead_after
        if self._checked_at == math.inf:
            return dead_at
        return min(dead_at, max(self._checked_at, self._last_received_at) + CHECK_SECONDS)

    def note_over(self, now: float) -> None:
        """Update the time since which the window is exceeded.

        Raises:
          RemoteProtocolError: the window was exceeded for `Limits.write_seconds` (`Code.BEHIND`).
        """
        if not self.counts.exceeded:
            self._over_since = math.inf
        elif self._over_since == math.inf:
            self._over_since = now
        elif now >= self._over_since + self.limits.write_seconds:
            self.counts.give_up()
            raise RemoteProtocolError("the peer acknowledged too few messages for too long", Code.BEHIND)

    def due(self, now: float, *, early: float = 0.0) -> list[Frame]:
        """Return the acks and pings that are due. The caller must write all queued messages before them.

        Args:
          early: also return frames that are due within this many seconds.

        Raises:
          RemoteProtocolError: the peer was silent for too long (`Code.SILENT`), or the window was exceeded for too
            long (`Code.BEHIND`).
        """
        if self.state is not State.OPEN:
            return []
        self.note_over(now)
        if now >= self.dead_at:
            raise RemoteProtocolError(f"no bytes received for {now - self._last_received_at:.0f} s", Code.SILENT)
        frames = []
        if now + early >= self.ack_due:
            self._acked_to_peer, self._bytes_since_ack, self.ack_due = self.counts.acknowledgeable, 0, math.inf
            told = self._time(now) if self._asked is not None else None
            frames.append(self.codec.encode(to_plain(Ack(self._acked_to_peer, self._asked, told))))
            self._asked = None
        if now + early >= self.ping_due:
            self.ping_due = now + min(self._ping_wait, self.limits.heartbeat)
            self._ping_wait *= 2
            self._pinged = [*self._pinged[1 - MAX_PINGED :], self._time(now)]
            frames.append(self.codec.encode(to_plain(Ping(self.counts.sent - self.counts.withheld, self._pinged[-1]))))
        return frames

    def _time(self, now: float) -> float:
        """Return the time that is reported to the peer, rounded down to a tenth of a millisecond."""
        return math.floor((now - self.epoch) * 10_000) / 10_000

    def _unusable(self, exc: InvalidEvent, frame: Frame, size: int, now: float) -> Exception:
        """Count an unusable message as its sender does. Returns: the error to raise."""
        if self.state is not State.OPEN:
            return RemoteProtocolError(str(exc))
        name, request = self.codec.peek(frame)
        self.next_read_at = self._note_pace(size, now)
        if name[:1] not in UNCOUNTED_SIGNS:
            self._count_received(size, now)
        if name[:1] in SIGNS:
            request = None  # an answer or a cancel: its number may be the number of a request that this side has sent
        return InvalidEvent(exc.problem, str(exc), about=name.lstrip(SIGNS), request=request)

    def _receive_ack(self, ack: Ack, now: float) -> None:
        if ack.count > self.counts.acked:  # not charged to the pace: each sent message allows only one
            self.next_read_at = self._pace.give_back()
        self.counts.acknowledge(ack.count)
        if ack.asked is not None and ack.told is not None and ack.asked in self._pinged:
            self._pinged.remove(ack.asked)
            if ack.asked + self.epoch >= self._checked_at:
                self._checked_at = math.inf
            self.clock.note(ack.asked + self.epoch, ack.told, now)

    def _receive_welcome(self, welcome: Welcome, now: float) -> None:
        if not welcome.resumed:
            self.clock.restart()
        self.clock.note(self._hello_at, welcome.now, now)
        if self._resuming and not welcome.resumed:
            self.counts.reset_counts()
        self.counts.acknowledge(welcome.received)
        self.limits = attrs.evolve(self.limits, heartbeat=welcome.heartbeat, dead_after=welcome.dead_after)
        self._ack_frames, self._ack_bytes = welcome.ack_frames, welcome.ack_bytes
        self._open(now)

    def _check_size(self, size: int) -> None:
        limit = self.limits.hello_bytes if self.state is State.SILENT else self.limits.message_bytes
        if size > limit and self.side is Side.SERVER:  # a client accepts larger messages from its server
            raise InvalidEvent("too_large", f"{size} bytes exceed the limit of {limit} bytes for a message: see Limits")

    def _advance(
        self, message: Message, *, by: Side, error: type[LocalProtocolError] | type[RemoteProtocolError]
    ) -> None:
        following = CONVERSATION[self.state].get(type(message))
        if following is None or SENDER.get(type(message), by) is not by:
            raise error(f"the {by.value} must not send {type(message).__name__.lower()} in state {self.state.value}")
        self.state = following

    def _open(self, now: float) -> None:
        self._acked_to_peer = self.counts.received
        self.ping_due = now + self.limits.heartbeat

    def _check_ping(self, count: int, now: float) -> None:
        if count != self.counts.received:
            raise RemoteProtocolError(f"peer sent {count} frames, but {self.counts.received} arrived", Code.MISCOUNT)
        self.ack_due = now

    def _note_pace(self, size: int, now: float) -> float:
        """Charge a message to the pace of this connection. Return the earliest time to read the next message."""
        return max(self._pace.take(now), self._bytes.take(now, size))

    def _count_received(self, size: int, now: float) -> None:
        self.counts.received += 1
        self._bytes_since_ack += size
        waiting = self.counts.received - self._acked_to_peer
        if waiting >= self._ack_frames or self._bytes_since_ack >= self._ack_bytes:
            self.ack_due = now
        elif self.ack_due == math.inf:
            self.ack_due = now + self.limits.ack_seconds


def _other(side: Side) -> Side:
    return Side.SERVER if side is Side.CLIENT else Side.CLIENT
