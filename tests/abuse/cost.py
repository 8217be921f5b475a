"""The CPU time that a server takes to read, count and structure one frame."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import attrs

import edge
from edge.errors import InvalidEvent, RemoteProtocolError
from edge.protocol.codec import Codec, Frame
from edge.protocol.connection import Connection, Side
from edge.protocol.events import Vocabulary
from edge.protocol.limits import Limits
from edge.protocol.messages import Event, Hello, Request, Welcome, to_plain
from edge.protocol.structure import structure
from tests.small_rooms import Say

FRAME_BYTES = Limits().message_bytes


@attrs.frozen
class Point:
    x: float
    y: float


@attrs.frozen
class Node:
    of: list[int] | dict[str, int] | str | None = None


@attrs.frozen
class Cell:
    row: int
    column: int


@edge.event("draw")
class Draw:
    points: list[Point]


@edge.event("walk")
class Walk:
    path: list[int]


@edge.event("rows")
class Rows:
    rows: set[tuple[int, ...]]


@edge.event("groups")
class Groups:
    groups: frozenset[frozenset[int]]


@edge.event("cells")
class Cells:
    cells: set[Cell]


@edge.event("numbers")
class Numbers:
    numbers: set[float]


@edge.event("scores")
class Scores:
    scores: dict[str, int]


@edge.event("mixed")
class Mixed:
    mixed: list[int | float | str | list[Point] | None]


@edge.event("nodes")
class Nodes:
    nodes: list[Node] | None


@edge.event("lists")
class Lists:
    lists: list[tuple[int, ...]]


@edge.event("tree")
class Tree:
    leaves: list[int]
    below: list[Tree]


@attrs.frozen
class Branch:
    of: list[Branch] | None = None


@attrs.frozen
class Twig:
    of: list[Twig | Branch] | None = None


@attrs.frozen
class Leaf:
    at: list[int] | None = None


@edge.event("branches")
class Branches:
    branches: list[Branch]


@edge.event("twigs")
class Twigs:
    twigs: list[Twig | Branch]


@edge.event("leaves")
class Leaves:
    leaves: dict[str, list[Leaf]]


VOCABULARY = Vocabulary.of(
    Draw
    | Walk
    | Say
    | Rows
    | Groups
    | Cells
    | Numbers
    | Scores
    | Mixed
    | Nodes
    | Lists
    | Tree
    | Branches
    | Twigs
    | Leaves
)


def take_in(codec: Codec) -> Callable[[Frame], None]:
    """Return a function that receives frames as an open connection does."""
    connection = Connection(Side.SERVER, codec, now=0, limits=Limits())
    connection.receive(codec.encode(to_plain(Hello(client="a" * 16))), now=0)
    welcome = Welcome(resumed=False, why="new", received=0, number=0, heartbeat=20, dead_after=30)
    connection.send(welcome, now=0)

    def take(frame: Frame) -> None:
        with contextlib.suppress(InvalidEvent):
            message = connection.receive(frame, now=0)
            if isinstance(message, Event | Request) and message.name in VOCABULARY.by_name:
                structure(message.body, VOCABULARY.by_name[message.name].cls)

    return take


def honest_frame(codec: Codec) -> Frame:
    """Return a valid frame of almost the largest size that a room accepts. Its event is a long list of numbers."""
    path = [n * 7 % 10 for n in range(FRAME_BYTES)]
    while len(frame := codec.encode(["walk", {"path": path}])) > FRAME_BYTES:
        del path[-50:]
    return frame


def cpu_seconds(take: Callable[[Frame], None], frame: Frame, repeat: int = 2) -> float:
    """Return the lowest CPU time, in seconds, of `repeat` runs with a frame, because noise only adds time.

    Each run is measured at a different depth of the stack. If the calls of a loop cross from one chunk of Python's
    stack into the next chunk, each call maps and unmaps memory, and the loop takes twenty times as long.
    """
    return min(_cpu_seconds_below(8 * depth, take, frame) for depth in range(repeat))


def _cpu_seconds_below(depth: int, take: Callable[[Frame], None], frame: Frame) -> float:
    if depth:
        return _cpu_seconds_below(depth - 1, take, frame)
    began = time.process_time()
    with contextlib.suppress(RemoteProtocolError):  # the error ends the connection, which is cheap
        take(frame)
    return time.process_time() - began
