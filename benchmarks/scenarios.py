"""The scenarios of the benchmarks. Each round measures every peer once, so that interference affects all peers alike.
The results are medians over the rounds."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

import attrs

from .run import BUSY, Measured, serving
from .table import COLYSEUS, EDGE, SOCKETIO, Peer

# The number of messages in flight in a room that broadcasts. When a message has returned, its sender sends the next.
SPEAKING = 4
# The peers in the scenario of visits. The others do not answer a close, or choose the room in another way.
VISITED = (EDGE.name, "trio-websocket", "websockets", "Starlette", SOCKETIO.name, "Socket.IO")


@attrs.frozen
class Profile:
    """The scale of the measurements."""

    rounds: int
    seconds: float
    crowd: int
    """The number of idle seats."""
    seats: tuple[int, ...]
    """The measured numbers of seats in one room."""
    rooms: tuple[int, ...]
    """The measured numbers of rooms, with ten seats each."""
    loads: tuple[float, ...]
    """The measured loads, as shares of the highest rate."""


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
    """The medians of one peer over all rounds: events per second, latencies in µs, and the share of a core."""

    peer: str
    rate: float
    p50: float
    p99: float
    p999: float
    late_p99: float
    cpu: float
    bound_by_load: bool


def compare(peers: Sequence[Peer], what: str, profile: Profile, **options: float | str) -> list[Row]:
    """Run the same load on each peer, round by round, and return the medians."""
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
    """Measure a hundred rooms of ten. Each room sends thirty states per second, and each member ten messages per
    second."""
    pair = [peer for peer in peers if peer.name in (EDGE.name, COLYSEUS.name)]
    return compare(pair, "states", profile, mode="states", rooms=100, seats=10, rate=10)


def tails(peers: Sequence[Peer], profile: Profile) -> list[Row]:
    """Measure a room of fifty, in which each member sends five messages per second, at random times."""
    those = [peer for peer in peers if peer.name in (*VISITED, COLYSEUS.name)]
    return compare(those, "room", profile, mode="broadcast", seats=50, rate=5, random=1)


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
    """The resident memory of a seat, in KiB."""
    cpu: float
    joins: float
    """The number of joins per second."""


def crowd(peers: Sequence[Peer], profile: Profile) -> list[Crowd]:
    """Measure `profile.crowd` idle seats, or as many as the limit of file descriptors allows."""
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
    """The measurements of edge for one point of a line chart."""

    x: float
    rate: float
    p50: float
    p99: float
    cpu: float
    swollen: float = 0.0
    """The bytes of resident memory that the server gained under load."""
    more: float = 0.0


def grow_seats(profile: Profile) -> list[Point]:
    """Measure one room with each number of seats in the profile."""
    return [_point(seats, "room", profile, mode="broadcast", seats=seats, depth=SPEAKING) for seats in profile.seats]


def grow_rooms(profile: Profile) -> list[Point]:
    """Measure each number of rooms in the profile. Each room has ten seats, and sends its state three times per
    second."""
    return [_point(rooms, "calm", profile, mode="states", rooms=rooms, seats=10, rate=1) for rooms in profile.rooms]


def grow_load(profile: Profile, most: float) -> list[Point]:
    """Measure fifty connections at each load in the profile. `most` is the highest rate of the echo."""
    return [_point(share, "echo", profile, mode="echo", seats=50, rate=most * share / 50) for share in profile.loads]


def slow_seats(profile: Profile) -> Point:
    """Measure a room of a hundred clients, of which ten do not read. Return the rate and latency of the other
    clients."""
    return _point(10, "room", profile, mode="broadcast", seats=100, depth=SPEAKING, slow=10)


def _point(x: float, what: str, profile: Profile, **options: float | str) -> Point:
    tell(f"edge, {what} {options}")
    with serving(EDGE, what) as server:
        run = server.measure(what, {"seconds": profile.seconds, **options})
    latency = run.load["latency_us"]
    return Point(x, run.rate, latency["p50"], latency["p99"], run.cpu, run.swollen, run.load["let_go"])


def tell(what: str) -> None:
    """Print this line of progress to stderr."""
    print(what, file=sys.stderr, flush=True)
