"""The room: several streams, each at its own pace, into one connection."""

from __future__ import annotations

import gc
from typing import TypeAlias

import trio

import edge
from edge.monitor import ProcessWatch, counters_of


@edge.event("collect")
class Collect:
    """Collect garbage, please."""


@edge.event("requests", delivery="latest")
class Requests:
    """How many HTTP requests were answered a second, lately, and in all."""

    a_second: float
    total: int


@edge.event("cpu", delivery="latest")
class Cpu:
    """How much of one core is taken: 1 is all of it."""

    share: float


@edge.event("memory", delivery="latest")
class Memory:
    """What the process occupies."""

    bytes: int


@edge.event("collected")
class Collected:
    """What a collection brought about, for everybody who watches."""

    by: str
    objects: int
    """How many were unreachable."""
    before: int
    """Bytes that the process occupied."""
    after: int
    seconds: float


FromWatcher: TypeAlias = Collect
ToWatcher: TypeAlias = Requests | Cpu | Memory | Collected


class Monitor(edge.Room[FromWatcher, ToWatcher]):
    """Everybody watches the same."""

    seats = edge.Seats(maximum=500, grace=10)

    requests_seconds = 0.25
    cpu_seconds = 1.0
    memory_seconds = 0.5
    pause_seconds = 1.0
    """Between two collections: everything stands still meanwhile."""

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
        """Collect garbage. It holds up everything else meanwhile, which is what there is to see."""
        process = ProcessWatch()
        before, began = process.sample().memory_bytes, self.now()
        objects = gc.collect()
        return Collected(by, objects, before, process.sample().memory_bytes, self.now() - began)
