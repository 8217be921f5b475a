"""Measure the highest cost of 64 KiB of input for a server, for each kind of sender and each entry point.

An entry point is a way to send bytes to a server: a WebSocket, an HTTP transport or a request. The command ``python -m
benchmarks.abuse`` measures all inputs of the suite tests/abuse, without paces and limits. The command writes the most
expensive input of each entry point and sender into docs/abuse.md. CPU time and memory are those of the whole process,
which includes the sender. The sender only copies bytes.
"""

from __future__ import annotations

import copy
import gc
import json
import math
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import trio

import edge
import edge.monitor
from edge.cluster.broker.broker import Broker
from edge.cluster.broker.memory import MemoryBroker
from edge.protocol.codec import JSON, MESSAGEPACK, Codec
from edge.protocol.records import record
from edge.rooms.room import kind_of
from edge.server.limiter import AddressLimits
from edge.server.serve import Server, open_server
from tests.abuse.cost import FRAME_BYTES, VOCABULARY, Draw, Walk, honest_frame
from tests.abuse.test_cost import PLAIN, RAW, cut
from tests.abuse.town import ATTACKER, everything, frame, link_from

DOCUMENT = Path(__file__).parents[1] / "docs" / "abuse.md"
BEGIN, END = "<!-- costs: python -m benchmarks.abuse -->", "<!-- end of costs -->"
API_TOKEN, MONITOR_TOKEN, SECRET = "a token of the API", "a token of the monitor", "a secret of all the servers"
HONEST = "an honest event"
# The default paces, per second: messages of a connection, requests of an address, and inputs of 64 KiB of a connection.
PACED_MESSAGES, PACED_REQUESTS = edge.Limits().events_per_second, AddressLimits().requests_each
PACED_BYTES = edge.Limits().bytes_per_second / FRAME_BYTES
numbers = count(1)


@edge.event("know")
class Know:
    """Asks for an answer, which shows that the server has processed all earlier frames."""


@edge.event("known")
class Known:
    pass


class Hall(edge.Room[Know | Draw | Walk, Known]):
    """Receives the events in the frames of the suite."""

    seats = edge.Seats(minimum=1, maximum=10**6, grace=0.01)

    async def player(self, player: edge.Player[Any, Any]) -> None:
        async for event in player:
            if type(event) is Know:
                player.reply(event, Known())


EVENTS = attrs.evolve(
    VOCABULARY,
    by_name={**VOCABULARY.by_name, **kind_of(Hall).receives.by_name},
    by_class={**VOCABULARY.by_class, **kind_of(Hall).receives.by_class},
)
# Let the room receive the events of the suite. A private attribute is the only way, because nothing else sets the kind.
Hall._Room__edge_kind = attrs.evolve(kind_of(Hall), receives=EVENTS)  # type: ignore[attr-defined]

LIMITS = edge.Limits(
    events_per_second=math.inf, bytes_per_second=math.inf, inbox=10**6, inbox_bytes=10**9, outbox_frames=10**6
)
ADDRESS_LIMITS = AddressLimits(requests_each=math.inf, connections_each=10**6, connections=10**6)


@attrs.frozen
class Cost:
    """The cost of one input of 64 KiB, with the CPU time `cpu` in seconds and the peak memory in bytes."""

    door: str
    who: str
    what: str
    cpu: float
    share: float
    """The used share of one core, if the input is sent as often as the pace allows."""
    memory: int


@attrs.frozen
class Try:
    """An input of 64 KiB, and the way to send it."""

    door: str
    who: str
    what: str
    often: float
    """How many times per second the pace allows this input, for one connection, or for one address if the input is a
    request."""
    send: Callable[[list[Server]], Awaitable[object]]


def make_app(broker: Broker) -> edge.App:
    app = edge.App(
        {"hall": Hall},
        limits=LIMITS,
        address_limits=ADDRESS_LIMITS,
        sessions=edge.Sessions(keys=edge.Keys(SECRET)),
        api_token=API_TOKEN,
        cluster=edge.Cluster(broker),
        static={"/": Path(__file__).parents[1] / "edge" / "monitor" / "web"},
    )
    edge.monitor.mount(app, token=MONITOR_TOKEN)
    return app


@asynccontextmanager
async def open_servers() -> AsyncIterator[list[Server]]:
    """Run two servers that share a broker and know each other."""
    broker = MemoryBroker(lease_seconds=2)
    async with open_server(make_app(broker)) as one, open_server(make_app(broker)) as two:
        await trio.sleep(1)
        yield [one, two]
        for server in (one, two):
            server.connections.cancel_scope.cancel("measured")


def requests(head: str, headers: str = "") -> bytes:
    """Return copies of a request that fill 64 KiB, and a last request that closes the connection."""
    one = f"{head} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return one * (FRAME_BYTES // len(one)) + last


def over_http(data: bytes) -> Callable[[list[Server]], Awaitable[object]]:
    async def send(servers: list[Server]) -> None:
        async with await link_from(servers[0], ATTACKER).connect() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(everything, stream)
            await stream.send_all(data)

    return send


def over_websocket(
    frames: Sequence[bytes], *, hello: bool, key: str | None = None, codec: Codec = JSON
) -> Callable[[list[Server]], Awaitable[object]]:
    """Return a function that sends WebSocket frames. With a hello, the function waits until the server has processed
    all frames."""
    first = 0x81 if codec is JSON else 0x82

    async def send(servers: list[Server]) -> None:
        sent = [*frames]
        if hello:
            greeting = ["$hello", {"client": f"client-number-{next(numbers):09}", "key": key}]
            sent.insert(0, frame(_bytes(codec.encode(greeting)), first=first))
            sent.append(frame(_bytes(codec.encode(["know", {}, 1])), first=first))
        async with await link_from(servers[0], ATTACKER).connect() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_until_known, stream, nursery)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(
                    b"GET /rooms/hall/one HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Protocol: edge.1.%s\r\n\r\n" % codec.name.encode()
                )
                for each in sent:
                    await stream.send_all(each)
            if not hello:
                await trio.sleep(0.05)
                nursery.cancel_scope.cancel("all frames were sent")

    return send


async def _until_known(stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
    """Read until the answer to the last frame, or until the end of the stream."""
    data = b""
    while received := await _some(stream):
        data = data[-100:] + received
        if b"known" in data:
            break
    nursery.cancel_scope.cancel("answered")


async def _some(stream: trio.abc.Stream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


def _bytes(encoded: str | bytes) -> bytes:
    return encoded.encode() if isinstance(encoded, str) else encoded


def over_line(
    bodies: Sequence[bytes], *, hello: bool, mode: str, elsewhere: bool, key: str | None = None
) -> Callable[[list[Server]], Awaitable[object]]:
    """Return a function that posts bodies to an HTTP transport, which belongs to the other server if `elsewhere`.
    Without a hello, no request opens the transport."""

    async def send(servers: list[Server]) -> None:
        node = servers[0].site.node
        assert node is not None
        names = (f"a-line-to-be-measured-{next(numbers)}" for _ in range(1000))
        name = next(name for name in names if (node.home(name) != node.id) == elsewhere)

        async def ask(method: str, headers: str, body: bytes = b"") -> None:
            head = (
                f"{method} /rooms/hall/one HTTP/1.1\r\nHost: x\r\nEdge-Connection: {name}\r\n"
                "Edge-Protocol: edge.1.json\r\n"
                f"{headers}Content-Length: {len(body)}\r\n\r\n"
            )
            async with await link_from(servers[0], ATTACKER).connect() as stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(head.encode() + body)
                await _some(stream)

        said = 0
        if hello:
            greeting = record(json.dumps(["$hello", {"client": f"client-number-{next(numbers):09}", "key": key}]))
            await ask("POST", "Edge-First: 0\r\nEdge-Has: 0\r\n", greeting)
            await ask("GET", f"Edge-Mode: {mode}\r\nEdge-Has: 0\r\n")
            said = 1
        for body in bodies:
            await ask("POST", f"Edge-First: {said}\r\nEdge-Has: {said}\r\n", body)

    return send


def tries() -> list[Try]:
    """Return all inputs of the suite, for each entry point."""
    return [*_on_websockets(), *_on_lines(), *_over_http()]


def _frames(codec: Codec) -> Iterator[tuple[str, bytes]]:
    """Yield the descriptions and the bytes of an honest frame, and of frames that are made to be expensive."""
    spoken = "JSON" if codec is JSON else "MessagePack"
    yield f"{HONEST}, in {spoken}", _bytes(honest_frame(codec))
    for what, plain in PLAIN.items():
        yield f"{what}, in {spoken}", _bytes(cut(copy.deepcopy(plain), codec))
    for raw in RAW:
        if isinstance(raw, str) == (codec is JSON):
            yield f"made for the decoder, in {spoken}", _bytes(raw)


def a_member_key() -> str:
    return edge.Keys(SECRET).issue("member", name="m", claims={"essay": "x" * 2000})


def _on_websockets() -> Iterator[Try]:
    ping, fragment = frame(b"", first=0x89) * 10_000, frame(b"", first=0x01) * 10_000
    for what, data in (("no hello", frame(b"x" * 16_000)), ("pings", ping), ("fragments", fragment)):
        yield Try("WebSocket", "stranger", what, PACED_REQUESTS, over_websocket([data], hello=False))
    for what, data, messages in (
        ("pings", ping, 10_000),
        ("messages of nothing", frame(b"[]") * 8000, 8000),
        ("requests", frame(b'["know",{},2]') * 3400, 3400),
    ):
        yield Try("WebSocket", "guest", what, PACED_MESSAGES / messages, over_websocket([data], hello=True))
    key = a_member_key()
    for codec in (JSON, MESSAGEPACK):
        for what, data in _frames(codec):
            sent = [frame(data, first=0x81 if codec is JSON else 0x82)]
            yield Try("WebSocket", "guest", what, PACED_BYTES, over_websocket(sent, hello=True, codec=codec))
            yield Try("WebSocket", "member", what, PACED_BYTES, over_websocket(sent, hello=True, codec=codec, key=key))


def _on_lines() -> Iterator[Try]:
    empty, nothing = b"t0\n" * 21_000, b"k0\n" * 21_000
    for door, mode, elsewhere in (
        ("stream", "stream", False),
        ("poll", "poll", False),
        ("across servers", "poll", True),
    ):
        line = partial(over_line, mode=mode, elsewhere=elsewhere)
        posts = [record("x" * 10_000)] * 6
        for what, bodies in (("empty frames", [empty[:16_000]] * 4), ("posts without a hello", posts)):
            yield Try(door, "stranger", what, PACED_REQUESTS / len(bodies), line(bodies, hello=False))
        yield Try(door, "guest", "empty frames", PACED_MESSAGES / 21_000, line([empty], hello=True))
        yield Try(door, "guest", "records of nothing", PACED_REQUESTS, line([nothing], hello=True))
        for what, data in _frames(JSON):
            sent = [record(data.decode())]
            yield Try(door, "guest", what, PACED_BYTES, line(sent, hello=True))
            yield Try(door, "member", what, PACED_BYTES, line(sent, hello=True, key=a_member_key()))


def _over_http() -> Iterator[Try]:
    none, right = "Authorization: Bearer a token that is none\r\n", "Authorization: Bearer {}\r\n"
    page = "Edge-Session: tab\r\nContent-Length: 0\r\n"
    cookie = f"Cookie: edge_session={edge.Keys(SECRET).issue('guest', guest=True)}\r\n"
    member = f"Cookie: edge_session={a_member_key()}\r\n"
    for door, who, what, data in (
        ("HTTP", "stranger", "requests for nothing", requests("GET /n")),
        ("HTTP", "stranger", "requests for a file", requests("GET /")),
        ("HTTP", "stranger", "requests for a key", requests("POST /session", page)),
        ("HTTP", "stranger", "a head of 64 KiB", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 11_000),
        ("HTTP", "guest", "requests with a key", requests("POST /session", page + cookie)),
        ("HTTP", "member", "requests with a key", requests("POST /session", page + member)),
        ("API", "stranger", "guesses of the token", requests("GET /edge-api/rooms", none)),
        ("API", "the web app", "lists of rooms", requests("GET /edge-api/rooms", right.format(API_TOKEN))),
        ("dashboard", "stranger", "guesses", requests("POST /edge-monitor/enter", f"{none}Content-Length: 0\r\n")),
        ("dashboard", "stranger", "requests for metrics", requests("GET /metrics", none)),
        ("dashboard", "operator", "requests for metrics", requests("GET /metrics", right.format(MONITOR_TOKEN))),
    ):
        yield Try(door, who, what, PACED_REQUESTS / max(1, data.count(b" HTTP/1.1")), over_http(data))


async def measure(servers: list[Server], each: Try) -> Cost:
    """Return the least CPU time of three runs, and the peak memory of a fourth run."""
    cpu = math.inf
    for _ in range(3):
        gc.collect()
        began = time.process_time()
        await each.send(servers)
        cpu = min(cpu, time.process_time() - began)
    gc.collect()
    tracemalloc.start()
    await each.send(servers)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(each.door, each.who, each.what, cpu, cpu * each.often, memory)


async def measure_all() -> list[Cost]:
    async with open_servers() as servers:
        return [await measure(servers, each) for each in tries()]


def table(costs: Sequence[Cost]) -> str:
    """Return a table of the most expensive inputs of each entry point and sender, by CPU time at the pace and by
    memory."""
    honest = next(cost for cost in costs if cost.what.startswith(HONEST))
    lines = [
        "| entry point | sender | input with the most CPU time, under the limits | ms for 64 KiB | share of a core "
        "| input with the most memory | KiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for door, who in dict.fromkeys((cost.door, cost.who) for cost in costs):
        here = [cost for cost in costs if (cost.door, cost.who) == (door, who)]
        cpu, memory = max(here, key=lambda cost: cost.share), max(here, key=lambda cost: cost.memory)
        lines.append(
            f"| {door} | {who} | {cpu.what} | {cpu.cpu * 1000:.1f} | {cpu.share:.1%} | {memory.what} | "
            f"{memory.memory // 1024:,} |"
        )
    usual = f"{honest.cpu * 1000:.1f} ms, {honest.share:.1%} of a core, {honest.memory // 1024:,} KiB"
    return "\n".join([*lines, "", f"For comparison, an honest event of 64 KiB in JSON over a WebSocket: {usual}."])


def main() -> None:
    """Measure all inputs, print the table, and write it into docs/abuse.md."""
    made = table(trio.run(measure_all))
    print(made)
    text = DOCUMENT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


if __name__ == "__main__":
    main()
