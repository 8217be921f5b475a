"""Placement moves persistent rooms between servers, so that all servers have a similar load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from ..rooms.directory import Directory
from .status import ServerStatus

# Seconds between two checks of the loads, and between two moves, so that not all clients reconnect at once.
BALANCE_SECONDS = 10.0
NEXT_SECONDS = 0.05
# Seconds for which a room stays here after its move has failed.
STAY_SECONDS = 600.0
# A server moves rooms to others if its load exceeds the mean by at least SLACK times the mean, and by at least LEAST.
# A load is a number of rooms and seats. Moves for smaller differences would help little, and make players reconnect.
SLACK = 0.25
LEAST = 100


class Movable(Protocol):
    """The part of `Node` that placement needs."""

    id: str
    servers: Mapping[str, ServerStatus]

    @property
    def cut_off(self) -> bool: ...

    async def move(self, name: str, to: str) -> bool: ...


async def keep_balance(node: Movable, directory: Directory) -> None:
    """Move persistent rooms to servers with less load, such as a new server, for ever."""
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
    """Return the load of a number of rooms that have a number of seats together."""
    return rooms + seats


def choose_moves(me: str, rooms: Mapping[str, int], loads: Mapping[str, int]) -> list[tuple[str, str]]:
    """Choose which rooms of a server should move to which other servers.

    All servers may choose at the same time. Each server moves only its load above the mean. Two servers that know the
    same loads never move rooms to the same server.

    Args:
      me: the server whose rooms move.
      rooms: the rooms that can move, and their weights.
      loads: the load of each server that may send or receive rooms.

    Returns: pairs of a room and its new server, the room with the largest weight first.
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
