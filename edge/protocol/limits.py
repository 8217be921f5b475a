"""The limits of a connection, with the reason for each default."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of one connection. Sizes are in bytes, times in seconds."""

    hello_seconds: float = 10
    """The time in which a new connection must send its hello. Phones on bad networks need a few seconds."""

    hello_bytes: int = 6 * 1024
    """The largest hello: space for the longest name, the longest key and the largest join options."""

    message_bytes: int = 64 * 1024
    """The largest message that is read. A larger message is answered with the error ``too_large``."""

    sent_bytes: int = attrs.field(
        default=1024 * 1024, validator=[attrs.validators.ge(64 * 1024), attrs.validators.le(16 * 1024 * 1024)]
    )
    """The largest message that a room may send, as JSON: from 64 KiB to 16 MiB. A larger message raises `ValueError` in
    the room's code. Send large data in parts, so that other messages are not delayed."""

    fragments_per_second: float = attrs.field(default=50, validator=attrs.validators.gt(0))
    """WebSocket fragments and control frames that one connection may send a second, in the long run. Each costs the
    server four times as much as an ordinary message. A higher rate ends the connection with `Code.FLOODING`."""

    fragments_burst: int = attrs.field(default=300, validator=attrs.validators.gt(0))
    """Fragments and control frames that one connection may send at once, such as the fragments of one large message."""

    inbox: int = 64
    """The maximum number of events of one player that wait for the room's code. While this many wait, the server does
    not read the player's connection."""

    inbox_bytes: int = attrs.field(default=256 * 1024, validator=attrs.validators.gt(0))
    """The maximum number of bytes of one player's events that wait for the room's code, measured as frames. The same
    limit applies separately to the player's stored ``latest`` values and to its unanswered requests."""

    events_per_second: float = attrs.field(default=50, validator=attrs.validators.gt(0))
    """Messages that are read from one connection a second, in the long run. A person, or a game at 30 Hz, sends fewer.
    Further counted messages are read later, so none of them is lost. A connection that exceeds this limit for more than
    `catch_up_seconds` ends with `Code.FLOODING`. Acks of new messages do not count."""

    events_burst: int = attrs.field(default=100, validator=attrs.validators.gt(0))
    """Messages that are read at once. The default is enough to catch up after a short interruption. After a resume,
    more messages are read, in proportion to the time without a connection. ``volatile`` and ``latest`` events beyond
    the pace are not delayed, because old events are useless. They are read at up to ten times the pace. Beyond the
    pace, a ``volatile`` event is refused as ``too_fast``, and a ``latest`` event is stored but reaches no listener."""

    bytes_per_second: float = attrs.field(default=64 * 1024, validator=attrs.validators.gt(0))
    """Bytes that are read from one connection a second, in the long run. The default allows one message of the largest
    size, or fifty messages of 1,300 bytes. Further messages are read later, as with `events_per_second`."""

    bytes_burst: int = attrs.field(default=256 * 1024, validator=attrs.validators.gt(0))
    """Bytes that are read at once. The default equals `outbox_bytes`, so that one client can't overflow the outboxes of
    a room that broadcasts each event."""

    outbox_frames: int = 1024
    """The maximum number of frames that may wait while a write to the connection is blocked. More frames end the
    connection with `Code.OVERFLOW`. Without a blocked write, only `step_frames` and `step_bytes` limit the frames."""

    outbox_bytes: int = 256 * 1024
    """The maximum number of bytes that may wait while a write to the connection is blocked."""

    heartbeat: float = 20
    """The time between two pings of a side. The default is shorter than the 30 s after which common proxies drop an
    idle connection."""

    dead_after: float = 30
    """The time without any byte from the peer after which the connection ends."""

    write_seconds: float = 10
    """The time that a write of 64 KiB may take before the connection ends with `Code.STALLED`. Also the time for which
    the unacknowledged messages may exceed the window before the connection ends with `Code.BEHIND`. After
    `Code.BEHIND`, the client starts fresh."""

    ack_frames: int = 32
    """The number of unacknowledged frames after which a side sends an ack at once: see `most_unacked`."""

    ack_seconds: float = 0.5
    """The longest time between an unacknowledged frame and the ack for it."""

    @property
    def opening_bytes(self) -> int:
        """The largest frame that is read from a socket before the hello."""
        return 4 * self.hello_bytes

    @property
    def socket_bytes(self) -> int:
        """The largest frame that is read from a socket. A larger frame ends the connection with close code 1009."""
        return 4 * self.message_bytes

    @property
    def most_unacked(self) -> tuple[int, int]:
        """The numbers of unacknowledged frames and bytes after which a side sends an ack: at most a quarter of the
        outbox."""
        return min(self.ack_frames, max(1, self.outbox_frames // 4)), max(1, self.outbox_bytes // 4)

    @property
    def window_frames(self) -> int:
        """The maximum number of frames that a seat stores for a resume. This number allows a full outbox, and as many
        frames again during a reconnect."""
        return 2 * self.outbox_frames

    @property
    def step_frames(self) -> int:
        """The maximum number of frames that a room may queue for one connection before it lets other tasks run.

        More frames raise `SendOverflow` in the room's code. This code has an endless loop, or must pause between
        events.
        """
        return 16 * self.window_frames

    @property
    def step_bytes(self) -> int:
        """The maximum number of bytes that a room may queue for one connection before it lets other tasks run. At least
        four messages of the largest size are allowed."""
        return max(16 * self.window_bytes, 4 * self.sent_bytes)

    @property
    def read_bytes(self) -> int:
        """The largest frame that a client reads. A message of `sent_bytes` fits into it in any encoding, with any
        text."""
        return 4 * self.sent_bytes

    @property
    def catch_up_seconds(self) -> float:
        """The longest time for which a connection may exceed its pace without a pause. After this time, the connection
        ends with `Code.FLOODING`. A client can send a full window within this time after a resume."""
        return max(self.window_frames / self.events_per_second, self.window_bytes / self.bytes_per_second)

    @property
    def window_bytes(self) -> int:
        """The maximum number of bytes that a seat stores for a resume."""
        return 2 * self.outbox_bytes
