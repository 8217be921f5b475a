"""The app of the endurance tests, with a room that returns the numbers that it has received, and a route that shows the
server's resources."""

from __future__ import annotations

import ctypes
import gc
import time

import attrs
import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

import edge
from edge.monitor.process import ProcessWatch
from edge.server.limiter import AddressLimits


@edge.event("put")
class Put:
    number: int


@edge.event("show")
class Show:
    """Asks for the numbers since the last request."""


@edge.event("shown")
class Shown:
    life: int
    """An id of the room object that sends this event."""
    numbers: list[int] = attrs.field(factory=list)


class Ledger(edge.Room[Put | Show, Shown]):
    seats = edge.Seats(minimum=1, maximum=2000, grace=2)

    def __init__(self) -> None:
        self.life = time.time_ns() // 1000

    async def player(self, player: edge.Player[Put | Show, Shown]) -> None:
        numbers: list[int] = []
        async for event in player:
            match event:
                case Put(number):
                    numbers.append(number)
                case Show():
                    player.reply(event, Shown(self.life, numbers))
                    numbers = []


C = ctypes.CDLL(None)
app = edge.App({"ledger": Ledger}, idle=1, address_limits=AddressLimits(connections=3000))
watch = ProcessWatch()


@app.route("/takes")
async def takes(request: edge.Request) -> edge.Response:
    """Return the resources that the server uses, after a garbage collection."""
    # Trio stores up to a thousand expired deadlines with their scopes. Their number varies, so remove them.
    GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
    gc.collect()
    if hasattr(C, "malloc_trim"):  # glibc stores free memory, the amount of which depends on earlier peaks
        C.malloc_trim(0)
    sample = watch.sample()
    return edge.json_response(
        {
            "memory": sample.memory_bytes,
            "objects": len(gc.get_objects()),
            "files": sample.files,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "rooms": len(app.directory),
        }
    )
