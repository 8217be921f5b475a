"""Which rooms should go to another server, so that none has much more to do than the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from ..rooms.directory import Directory
from .status import ServerStatus

# How often it is looked at, and how much later than a room the next one goes, lest all come back at once.
BALANCE_SECONDS = 10.0
NEXT_SECONDS = 0.05
# How long a room stays that another server would not take.
STAY_SECONDS = 600.0
# A server that has so much more to do than the mean sends rooms away: a part of the mean, and this at least, for each
# player who moves has to connect again.
SLACK = 0.25
LEAST = 100


class Movable(Protocol):
    """The server, as far as placement knows it: see `Node`."""

    id: str
    servers: Mapping[str, ServerStatus]

    @property
    def cut_off(self) -> bool: ...

    async def move(self, name: str, to: str) -> bool: ...


async def keep_balance(node: Movable, directory: Directory) -> None:
    """Send rooms that can be kept to servers that have less to do, such as one that is new; for ever."""
    stay = dict[str, float]()
    while True:
        await trio.sleep(BALANCE_SECONDS)
        if node.cut_off or directory.closing:
            continue
        stay = {room: until for room, until in stay.items() if until > trio.current_time()}
        loads = {
            server: weight_of(status.rooms, status.seated)
            for server, status in node.servers.items()
            if server == node.id or not (status.draining or status.full)
        }
        rooms = {
            room.path: weight_of(1, len(room.ledger))
            for room in directory.runtimes
            if room.journal is not None and room.path not in stay
        }
        for room, to in choose_moves(node.id, rooms, loads) if node.id in loads else ():
            if not await node.move(room, to):
                stay[room] = trio.current_time() + STAY_SECONDS
            await trio.sleep(NEXT_SECONDS)


def weight_of(rooms: int, seats: int) -> int:
    """The load of this many rooms and players."""
    return rooms + seats


def choose_moves(me: str, rooms: Mapping[str, int], loads: Mapping[str, int]) -> list[tuple[str, str]]:
    """Which of a server's rooms should go where.

    All servers may choose at once, by what they know of each other: each sends away only what it has above the mean,
    and to servers to which none of the others sends any.

    Args:
      me: the server.
      rooms: those that can go, and the weight of each.
      loads: what every server has to do, this one included.

    Returns: pairs of a room and a server, the heaviest room first.
    """
    loads = dict(loads)
    mean = sum(loads.values()) / len(loads)
    by_load = sorted(loads, key=lambda server: (loads[server], server))
    senders = [server for server in reversed(by_load) if loads[server] >= mean + max(LEAST, SLACK * mean)]
    receivers = by_load[senders.index(me) : -len(senders) : len(senders)] if me in senders else []
    moves = []
    for room, weight in sorted(rooms.items(), key=lambda each: (-each[1], each[0])) if receivers else ():
        to = min(receivers, key=lambda server: (loads[server], server))
        if loads[me] - weight >= max(mean, loads[to] + weight):
            moves.append((room, to))
            loads[me] -= weight
            loads[to] += weight
    return moves
