"""The room of the monitor: several streams, each with its own rate, over one connection."""

from __future__ import annotations

import gc
from typing import TypeAlias

import trio

import edge
from edge.monitor import ProcessWatch, counters_of


@edge.event("collect")
class Collect:
    """Ask the server to collect garbage."""


@edge.event("requests", delivery="latest")
class Requests:
    """HTTP requests: the current rate per second, and the total."""

    a_second: float
    total: int


@edge.event("cpu", delivery="latest")
class Cpu:
    """The CPU time that the process uses, as a share of one core: 1 is a whole core."""

    share: float


@edge.event("memory", delivery="latest")
class Memory:
    """The resident memory of the process, in bytes."""

    bytes: int


@edge.event("collected")
class Collected:
    """The result of a garbage collection."""

    by: str
    objects: int
    """The number of unreachable objects that the collector found."""
    before: int
    """The resident memory before the collection, in bytes; `after` is the memory after the collection."""
    after: int
    seconds: float


FromWatcher: TypeAlias = Collect
ToWatcher: TypeAlias = Requests | Cpu | Memory | Collected


class Monitor(edge.Room[FromWatcher, ToWatcher]):
    """A room that shows the same charts to all players."""

    seats = edge.Seats(maximum=500, grace=10)

    requests_seconds = 0.25
    cpu_seconds = 1.0
    memory_seconds = 0.5
    pause_seconds = 1.0
    """The shortest time between two collections, because a collection blocks the server."""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.stream_requests)
            nursery.start_soon(self.stream_cpu)
            nursery.start_soon(self.stream_memory)
            async for watcher, _ in self.listen(Collect):
                self.broadcast(self.collect(watcher.name))
                await trio.sleep(self.pause_seconds)

    async def stream_requests(self) -> None:
        before, since = counters_of(self).requests, self.now()
        async for _ in self.ticks(hz=1 / self.requests_seconds):
            total, now = counters_of(self).requests, self.now()
            self.broadcast(Requests((total - before) / (now - since), total))
            before, since = total, now

    async def stream_cpu(self) -> None:
        process = ProcessWatch()
        async for _ in self.ticks(hz=1 / self.cpu_seconds):
            self.broadcast(Cpu(process.sample().cpu))

    async def stream_memory(self) -> None:
        process = ProcessWatch()
        async for _ in self.ticks(hz=1 / self.memory_seconds):
            self.broadcast(Memory(process.sample().memory_bytes))

    def collect(self, by: str) -> Collected:
        """Collect garbage. The collection blocks the whole server, and the charts show the gap."""
        process = ProcessWatch()
        before, began = process.sample().memory_bytes, self.now()
        objects = gc.collect()
        return Collected(by, objects, before, process.sample().memory_bytes, self.now() - began)
