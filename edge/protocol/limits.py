"""The limits of a connection, with the reason for each default."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of one connection. Sizes are in bytes, times in seconds."""

    hello_seconds: float = 10
    """The time for the hello of a new connection; phones on bad networks need a few seconds."""

    hello_bytes: int = 4 * 1024
    """The largest hello: a name and a key fit many times."""

    message_bytes: int = 64 * 1024
    """The largest message that is read; a larger one is answered with ``too_large``."""

    sent_bytes: int = attrs.field(
        default=1024 * 1024, validator=[attrs.validators.ge(64 * 1024), attrs.validators.le(16 * 1024 * 1024)]
    )
    """The largest message that a room may send, as JSON: for its author, a larger one is a ``ValueError``. Send large
    things in parts, so that others are not kept waiting. From 64 KiB to 16 MiB."""

    fragments_per_second: float = attrs.field(default=50, validator=attrs.validators.gt(0))
    """How many fragments and control frames of a WebSocket are read a second, in the long run: each costs four times
    what a usual message costs in all. With more, the connection ends with `Code.FLOODING`."""

    fragments_burst: int = attrs.field(default=300, validator=attrs.validators.gt(0))
    """The same at once. The largest message may come in that many pieces."""

    inbox: int = 64
    """The most events of one player that wait for the room. Then its connection is not read."""

    inbox_bytes: int = attrs.field(default=256 * 1024, validator=attrs.validators.gt(0))
    """The same in bytes of their frames. As many bytes each may be kept of a player's ``latest`` values, and of its
    requests that are not answered."""

    events_per_second: float = attrs.field(default=50, validator=attrs.validators.gt(0))
    """How many messages of one connection are read a second, in the long run: more than a hand makes, and than a game
    at 30 Hz. The next wait unread, and its client with them, so nothing is lost; for `catch_up_seconds`. Acks are
    free."""

    events_burst: int = attrs.field(default=100, validator=attrs.validators.gt(0))
    """How many at once: enough to catch up after a hiccup; a resume may bring more, by as long as nothing was heard.
    ``volatile`` and ``latest`` events, which should not be old, don't wait: ten times as many are read, and refused as
    ``too_fast``, or kept without being heard."""

    bytes_per_second: float = attrs.field(default=64 * 1024, validator=attrs.validators.gt(0))
    """How many bytes of one connection are read a second, in the long run: one message of the largest size, or fifty of
    1,300 bytes. Later ones wait unread, as above."""

    bytes_burst: int = attrs.field(default=256 * 1024, validator=attrs.validators.gt(0))
    """How many bytes at once: as many as an outbox holds, so that a room which repeats what it hears to everybody fills
    no outbox by what one client says."""

    outbox_frames: int = 1024
    """How many frames may wait for a connection whose socket does not take them; then it ends with `Code.OVERFLOW`.
    Everything that a room sends in one step is written first, and does not count."""

    outbox_bytes: int = 256 * 1024
    """The same in bytes."""

    heartbeat: float = 20
    """How often each side pings: below the 30 s after which common proxies drop an idle connection."""

    dead_after: float = 30
    """The time without any byte from the peer after which it counts as gone."""

    write_seconds: float = 10
    """How long a write of 64 KiB may take before the connection counts as stalled; and how long more than the window
    may be unacknowledged before the seat is reset."""

    ack_frames: int = 32
    """Acknowledge at the latest after this many frames, or after a quarter of the outbox, in frames or bytes."""

    ack_seconds: float = 0.5
    """Acknowledge at the latest this many seconds after the first frame that is not acknowledged."""

    @property
    def opening_bytes(self) -> int:
        """The largest frame read off a socket that has not said hello yet."""
        return 4 * self.hello_bytes

    @property
    def socket_bytes(self) -> int:
        """The largest frame read off a socket: a mistake is answered, abuse ends the connection (close code 1009)."""
        return 4 * self.message_bytes

    @property
    def most_unacked(self) -> tuple[int, int]:
        """The most frames and bytes that either side may leave unacknowledged: a part of the smaller window."""
        return min(self.ack_frames, max(1, self.outbox_frames // 4)), max(1, self.outbox_bytes // 4)

    @property
    def window_frames(self) -> int:
        """The frames that a seat stores for a resume: a full outbox, and as many again while it reconnects."""
        return 2 * self.outbox_frames

    @property
    def step_frames(self) -> int:
        """How many frames a room may send to one connection in one step.

        With more, its author gets a `SendOverflow`: it is a loop without an end, or should wait in between.
        """
        return 16 * self.window_frames

    @property
    def step_bytes(self) -> int:
        """The same in bytes, or a few of the largest messages."""
        return max(16 * self.window_bytes, 4 * self.sent_bytes)

    @property
    def read_bytes(self) -> int:
        """The largest frame that a client reads: a message of `sent_bytes`, in any encoding and with any text."""
        return 4 * self.sent_bytes

    @property
    def catch_up_seconds(self) -> float:
        """How long a connection may be too fast without a pause: as long as all takes that a client can have kept for
        its resume. Then it is a flood."""
        return max(self.window_frames / self.events_per_second, self.window_bytes / self.bytes_per_second)

    @property
    def window_bytes(self) -> int:
        """The same in bytes."""
        return 2 * self.outbox_bytes
