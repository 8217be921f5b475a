"""The scenarios. In each round every peer is measured once, so that interference affects all peers alike. The results
are medians of the rounds."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

import attrs

from .run import BUSY, Measured, serving
from .table import COLYSEUS, EDGE, SOCKETIO, Peer

# The number of messages in flight in a room that broadcasts. When a message has returned, the next one is sent.
SPEAKING = 4
# The peers in the scenario of visits. The others do not answer a close, or find rooms in another way.
VISITED = (EDGE.name, "trio-websocket", "websockets", "Starlette", SOCKETIO.name, "Socket.IO")


@attrs.frozen
class Profile:
    """The scale of the measurements."""

    rounds: int
    seconds: float
    crowd: int
    """Number of idle seats."""
    seats: tuple[int, ...]
    """Measured numbers of seats in one room."""
    rooms: tuple[int, ...]
    """Measured numbers of rooms, with ten seats each."""
    loads: tuple[float, ...]
    """Measured loads, as shares of the highest rate."""


FULL = Profile(
    rounds=3,
    seconds=3,
    crowd=10_000,
    seats=(10, 30, 100, 300, 1000, 2000, 5000),
    rooms=(1, 10, 30, 100, 300, 1000),
    loads=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0),
)
QUICK = Profile(rounds=1, seconds=1, crowd=2000, seats=(10, 100, 1000), rooms=(1, 30, 100), loads=(0.25, 0.75, 1.5))


@attrs.frozen
class Row:
    """The medians of one peer over all rounds."""

    peer: str
    rate: float
    p50: float
    p99: float
    p999: float
    late_p99: float
    cpu: float
    bound_by_load: bool


def compare(peers: Sequence[Peer], what: str, profile: Profile, **options: float | str) -> list[Row]:
    """Run the same load on each peer, round by round."""
    runs: dict[str, list[Measured]] = defaultdict(list)
    for number in range(profile.rounds):
        for peer in peers:
            tell(f"{what} {options}: {peer.name}, round {number + 1} of {profile.rounds}")
            with serving(peer, what) as server:
                runs[peer.name].append(server.measure(what, {"seconds": profile.seconds, **options}))
    return [_row(name, each) for name, each in runs.items()]


def _row(name: str, runs: list[Measured]) -> Row:
    def median(of: Callable[[Measured], float]) -> float:
        return statistics.median(map(of, runs))

    return Row(
        name,
        rate=median(lambda run: run.rate),
        p50=median(lambda run: run.load["latency_us"]["p50"]),
        p99=median(lambda run: run.load["latency_us"]["p99"]),
        p999=median(lambda run: run.load["latency_us"]["p999"]),
        late_p99=median(lambda run: run.load["late_us"]["p99"]),
        cpu=median(lambda run: run.cpu),
        bound_by_load=median(lambda run: run.load_busy) > BUSY,
    )


def echo(peers: Sequence[Peer], profile: Profile) -> list[Row]:
    """Measure fifty connections, each with one message in flight."""
    return compare(peers, "echo", profile, mode="echo", seats=50)


def broadcast(peers: Sequence[Peer], profile: Profile, seats: int, depth: int = SPEAKING) -> list[Row]:
    """Measure one room with `depth` messages in flight, where all members receive all messages."""
    return compare(peers, "room", profile, mode="broadcast", seats=seats, depth=depth)


def states(peers: Sequence[Peer], profile: Profile) -> list[Row]:
    """Measure a hundred rooms of ten, with thirty states a second from each room and ten messages from each member."""
    pair = [peer for peer in peers if peer.name in (EDGE.name, COLYSEUS.name)]
    return compare(pair, "states", profile, mode="states", rooms=100, seats=10, rate=10)


def visits(peers: Sequence[Peer], profile: Profile) -> tuple[list[Row], list[Row]]:
    """Measure visits of twenty clients to a room (join, five messages, leave), and visits of thirty-two clients for one
    echo."""
    those = [peer for peer in peers if peer.name in VISITED]
    room = compare(those, "room", profile, mode="visits", seats=20, depth=5)
    return room, compare(those, "echo", profile, mode="visits", seats=32, depth=1)


@attrs.frozen
class Crowd:
    """The cost of idle seats."""

    peer: str
    seats: int
    kib: float
    """Resident memory of a seat, in KiB."""
    cpu: float
    joins: float
    """Joins a second."""


def crowd(peers: Sequence[Peer], profile: Profile) -> list[Crowd]:
    """Measure as many idle seats as the profile names and file descriptors allow."""
    found = []
    for peer in [peer for peer in peers if peer.name in (EDGE.name, SOCKETIO.name)]:
        tell(f"{profile.crowd} idle seats: {peer.name}")
        with serving(peer, "echo") as server:
            options: dict[str, float | str] = {"mode": "idle", "seats": profile.crowd, "seconds": 0.1, "warmup": 0}
            run = server.measure("echo", options, idle_seconds=2 * profile.seconds)
        joined, seconds = run.load["joined"], run.load["join_seconds"]
        found.append(Crowd(peer.name, joined, run.grown / joined / 1024, run.idle_cpu, joined / seconds))
    return found


@attrs.frozen
class Point:
    """One point of a line chart."""

    x: float
    rate: float
    p50: float
    p99: float
    cpu: float
    swollen: float = 0.0
    """Bytes of resident memory that the measured time added."""
    more: float = 0.0


def grow_seats(profile: Profile) -> list[Point]:
    """Measure one room with more and more seats."""
    return [_point(seats, "room", profile, mode="broadcast", seats=seats, depth=SPEAKING) for seats in profile.seats]


def grow_rooms(profile: Profile) -> list[Point]:
    """Measure more and more rooms of ten that send their state three times a second."""
    return [_point(rooms, "calm", profile, mode="states", rooms=rooms, seats=10, rate=1) for rooms in profile.rooms]


def grow_load(profile: Profile, most: float) -> list[Point]:
    """Measure fifty connections that send more and more, to the server's limit and beyond."""
    return [_point(share, "echo", profile, mode="echo", seats=50, rate=most * share / 50) for share in profile.loads]


def slow_seats(profile: Profile) -> Point:
    """Measure a room of a hundred in which ten do not read: the others' rate and latency, and the ended connections."""
    return _point(10, "room", profile, mode="broadcast", seats=100, depth=SPEAKING, slow=10)


def _point(x: float, what: str, profile: Profile, **options: float | str) -> Point:
    tell(f"edge, {what} {options}")
    with serving(EDGE, what) as server:
        run = server.measure(what, {"seconds": profile.seconds, **options})
    latency = run.load["latency_us"]
    return Point(x, run.rate, latency["p50"], latency["p99"], run.cpu, run.swollen, run.load["let_go"])


def tell(what: str) -> None:
    """Print the progress."""
    print(what, file=sys.stderr, flush=True)
