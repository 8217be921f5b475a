"""What is measured. Rounds are interleaved, so that a noisy minute is everybody's; what counts is the median."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

import attrs

from .run import BUSY, Measured, serving
from .table import COLYSEUS, EDGE, SOCKETIO, Peer

# How many messages are under way in a room that broadcasts: as soon as one has come back, another is said.
SPEAKING = 4
# The peers that clients can visit: the others do not answer a close, or have another way to find a room.
VISITED = (EDGE.name, "trio-websocket", "websockets", "Starlette", SOCKETIO.name, "Socket.IO")


@attrs.frozen
class Profile:
    """How much is measured."""

    rounds: int
    seconds: float
    crowd: int
    """How many idle seats."""
    seats: tuple[int, ...]
    """How many in one room."""
    rooms: tuple[int, ...]
    """How many rooms of ten."""
    loads: tuple[float, ...]
    """Shares of what was the most."""


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
    """What one peer has shown, in the median of the rounds."""

    peer: str
    rate: float
    p50: float
    p99: float
    p999: float
    late_p99: float
    cpu: float
    bound_by_load: bool


def compare(peers: Sequence[Peer], what: str, profile: Profile, **options: float | str) -> list[Row]:
    """The same load on each of them, round by round."""
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
    """Fifty connections, each with one message under way."""
    return compare(peers, "echo", profile, mode="echo", seats=50)


def broadcast(peers: Sequence[Peer], profile: Profile, seats: int, depth: int = SPEAKING) -> list[Row]:
    """One room in which so many messages are under way, and everybody hears everything."""
    return compare(peers, "room", profile, mode="broadcast", seats=seats, depth=depth)


def states(peers: Sequence[Peer], profile: Profile) -> list[Row]:
    """A hundred rooms of ten that tell their state thirty times a second, and hear from everybody ten times."""
    pair = [peer for peer in peers if peer.name in (EDGE.name, COLYSEUS.name)]
    return compare(pair, "states", profile, mode="states", rooms=100, seats=10, rate=10)


def visits(peers: Sequence[Peer], profile: Profile) -> tuple[list[Row], list[Row]]:
    """Coming and going: join a room of twenty, say five messages, leave, and come again; and connect, join,
    hear one echo, close, thirty-two at a time."""
    those = [peer for peer in peers if peer.name in VISITED]
    room = compare(those, "room", profile, mode="visits", seats=20, depth=5)
    return room, compare(those, "echo", profile, mode="visits", seats=32, depth=1)


@attrs.frozen
class Crowd:
    """What a crowd that says nothing costs."""

    peer: str
    seats: int
    kib: float
    """Resident memory a seat."""
    cpu: float
    joins: float
    """Joins a second."""


def crowd(peers: Sequence[Peer], profile: Profile) -> list[Crowd]:
    """As many seats as there are descriptors for, idle."""
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
    """One point of a line."""

    x: float
    rate: float
    p50: float
    p99: float
    cpu: float
    swollen: float = 0.0
    """By how many bytes memory grew."""
    more: float = 0.0


def grow_seats(profile: Profile) -> list[Point]:
    """One room, and more and more who sit there."""
    return [_point(seats, "room", profile, mode="broadcast", seats=seats, depth=SPEAKING) for seats in profile.seats]


def grow_rooms(profile: Profile) -> list[Point]:
    """More and more rooms of ten that tell their state three times a second."""
    return [_point(rooms, "calm", profile, mode="states", rooms=rooms, seats=10, rate=1) for rooms in profile.rooms]


def grow_load(profile: Profile, most: float) -> list[Point]:
    """Fifty connections that say more and more, until the server can't, and beyond."""
    return [_point(share, "echo", profile, mode="echo", seats=50, rate=most * share / 50) for share in profile.loads]


def slow_seats(profile: Profile) -> Point:
    """A room of a hundred of whom ten do not read: how it goes for the others, and how many of the ten are let go."""
    return _point(10, "room", profile, mode="broadcast", seats=100, depth=SPEAKING, slow=10)


def _point(x: float, what: str, profile: Profile, **options: float | str) -> Point:
    tell(f"edge, {what} {options}")
    with serving(EDGE, what) as server:
        run = server.measure(what, {"seconds": profile.seconds, **options})
    latency = run.load["latency_us"]
    return Point(x, run.rate, latency["p50"], latency["p99"], run.cpu, run.swollen, run.load["let_go"])


def tell(what: str) -> None:
    """Say what is going on."""
    print(what, file=sys.stderr, flush=True)
