"""Tests of clients that send too many events, control messages, pings or fragments on one connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import edge
from edge import Code
from edge.client.client import Status
from tests.abuse.town import ANOTHER, ATTACKER, CLIENT, Heard, Know, Plaza, Speaks, Town, frame, link_from, town
from tests.network import joined
from tests.small_rooms import Say


async def test_a_burst_waits_and_loses_nothing() -> None:
    """A burst of a thousand events is received in order, at the pace of its connection, and other clients are not
    delayed."""
    async with town() as here, here.join(ATTACKER, client=CLIENT) as eve:
        began = trio.current_time()
        for n in range(1000):
            eve.send(Say(str(n)))
        await here.check_friend()
        heard = await eve.request(Know(), Heard)
        assert heard.texts == 1000
        assert trio.current_time() - began == pytest.approx((1000 - 100) / 50, abs=0.5)
        await here.check_friend()
    assert here.server.site.directory.counters.throttled == 1


async def test_what_was_kept_while_away_comes_at_once() -> None:
    """After a resume, a client that kept to the pace is not throttled for the events that it stored while it was
    away."""
    async with town() as here:
        link = link_from(here.server, ATTACKER)
        async with joined(link.connect, "/rooms/plaza/two", sends=Speaks, receives=Heard, client=CLIENT) as eve:
            await eve.request(Know(), Heard)
            await trio.sleep(5)
            link.offline = "refused"
            link.cut()
            for n in range(120):
                eve.send(Say(str(n)))
                await trio.sleep(1 / 30)
            link.offline = ""
            await eve.wait_status(Status.OPEN)
            with trio.fail_after(0.1):
                assert (await eve.request(Know(), Heard)).texts == 120


async def test_who_leaves_behind_a_burst_leaves() -> None:
    """The seat of a client that leaves after a burst of 600 events ends within five seconds, although the pace would
    delay these events for longer."""
    async with town() as here:
        async with here.join(ATTACKER, "/rooms/plaza/two", client=CLIENT) as eve:
            for _ in range(600):
                eve.send(Say("more"))
        await trio.sleep(5)
        room = here.server.site.directory.find("plaza", "two")
        assert room is not None
        assert room.players == ()


async def test_who_is_too_fast_is_told() -> None:
    """A client that is throttled for more than a second gets the error `too_fast`, once."""
    async with town() as here, here.join(ATTACKER, client=CLIENT) as eve:
        for _ in range(600):
            eve.send(Say("more"))
        await eve.request(Know(), Heard)
        assert [(error.problem, error.about) for error in eve.errors] == [("too_fast", "")]


async def test_who_is_too_fast_for_too_long_is_put_out() -> None:
    """A client that exceeds the pace for about 41 seconds is disconnected. If such a client closes its connection
    earlier, its seat and its room still end."""
    async with town() as here:
        raw = await here.websocket()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, frame(["say", {"text": "more"}]) * 100)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(2048 / 50, abs=1)
        gone = await here.websocket(ANOTHER, "/rooms/plaza/two")
        await gone.send(*[frame(["say", {"text": "more"}])] * 5000)
        await gone.stream.aclose()
        await trio.sleep(120)
        assert here.server.site.directory.find("plaza", "two") is None


async def test_what_may_be_dropped_is_refused_when_it_comes_too_fast() -> None:
    """Excess `volatile` events are refused, excess `latest` values are stored but reach no listener, and a flood of
    either is throttled."""
    async with town() as here:
        raw = await here.websocket()
        await raw.send(*[frame(["~point", {"x": n}]) for n in range(150)])
        assert (await raw.until("!too_fast"))[1]["about"] == "point"
        await raw.send(*[frame(["~steer", {"x": n}]) for n in range(20)])
        await raw.send(frame(["know", {}, 1]))
        heard = (await raw.until("=heard"))[1]
        assert heard == {"texts": 0, "points": 99, "steered": 0, "wanted": 19}, (
            "the burst of 100 messages must include the hello"
        )
        assert here.server.site.directory.counters.turned_away == {"too_fast": 51}, "stored values are not refused"
        began = trio.current_time()
        flood = b"".join(frame(["~point", {"x": n}]) for n in range(5000)) + frame(["know", {}, 2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.stream.send_all, flood)
            await here.check_friend()
            await raw.until("=heard")
        assert trio.current_time() - began > 5, "a flood is read no faster than its pace"


@pytest.mark.parametrize("hz", [60, 144])
async def test_a_steady_stream_above_the_pace_does_not_grow_old(hz: int) -> None:
    """If a client sends `latest` events at the frame rate of a screen for a minute, the newest value is not delayed."""
    async with town() as here:
        raw = await here.websocket()
        for n in range(60 * hz):
            await raw.send(frame(["~steer", {"x": n}]))
            await trio.sleep(1 / hz)
        await raw.send(frame(["know", {}, 1]))
        with trio.fail_after(0.1):
            heard = (await raw.until("=heard"))[1]
        assert heard["wanted"] == 60 * hz - 1
        assert heard["steered"] == pytest.approx(60 * 50 + 100, abs=5)


@pytest.mark.parametrize("what", ["$ping", "$ack", "-", "=heard", "nonsense"])
async def test_messages_that_are_no_events_have_the_same_pace(what: str) -> None:
    """Control messages, unexpected answers and malformed messages have the same pace as events."""
    messages: dict[str, Callable[[int], list[Any]]] = {
        "$ping": lambda n: ["$ping", 0, n],
        "$ack": lambda n: ["$ack", 0],
        "-": lambda n: ["-", None, n],
        "=heard": lambda n: ["=heard", {}, n],
        "nonsense": lambda n: ["nonsense", n],
    }
    async with town() as here:
        raw = await here.websocket()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                raw.stream.send_all, b"".join(frame(messages[what](n)) for n in range(600)) + frame(["know", {}, 1])
            )
            await here.check_friend()
            await raw.until("=heard")
        assert trio.current_time() - began == pytest.approx((600 - 100) / 50, abs=0.5)


async def test_pings_without_end() -> None:
    """Each ping of a burst is answered, and a client that sends nothing but pings is disconnected."""
    async with town() as here:
        raw = await here.websocket()
        ping = frame(b"", first=0x89)
        await raw.send(ping * 250)
        for _ in range(250):
            assert await raw.next() == ["pong"]
        await here.check_friend()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, ping * 10_000)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()


async def test_a_smaller_limit_of_fragments() -> None:
    """An app can limit fragments and control frames further: a burst of twenty is allowed, and then two a second."""
    async with town(limits=edge.Limits(fragments_burst=20, fragments_per_second=2)) as here:
        raw = await here.websocket()
        ping = frame(b"", first=0x89)
        for count in (20, 4):
            await raw.send(ping * count)
            for _ in range(count):
                assert await raw.next() == ["pong"]
            await trio.sleep(2)
        await raw.send(ping * 8)
        assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING


@pytest.mark.parametrize("hello", [False, True])
async def test_fragments_without_end(hello: bool) -> None:
    """A client that sends empty fragments without end is disconnected, before its hello and after it."""
    async with town() as here:
        raw = await here.websocket(hello=hello)
        await raw.send(frame(b"", first=0x01))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, frame(b"", first=0x00) * 5000)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [0x01, 0x81], ids=["fragments", "one frame"])
async def test_before_the_hello_little_is_kept(first: int) -> None:
    """Before the hello, a frame or message that is too large ends the connection as soon as its size is known."""
    async with town() as here:
        raw = await here.websocket(hello=False)
        large = frame(b"x" * 60_000, first=first)
        small = frame(b"x" * 15_000, first=0x01)
        await raw.send(*([small, frame(b"x" * 15_000, first=0x00)[:4]] if first == 0x01 else [large[:4]]))
        with trio.fail_after(1):
            assert await raw.until("close", "$bye") == ["close", 1009]


@pytest.mark.parametrize("before", [b"", frame(b"", first=0x89)], ids=["fast path", "slow path"])
async def test_the_server_does_not_linger_after_the_client_s_own_1009(before: bytes) -> None:
    """A client that closes with 1009 sends nothing more, so the server closes at once, and waits for no more bytes."""
    async with town() as here:
        raw = await here.websocket()
        await raw.send(before, frame((1009).to_bytes(2, "big"), first=0x88))
        while await raw.stream.receive_some():
            pass
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await raw.stream.send_all(b"more")


async def test_a_message_in_many_fragments_is_a_message() -> None:
    """The server receives a message that arrives in many fragments."""
    async with town() as here:
        raw = await here.websocket()
        payload = json.dumps(["know", {}, 1]).encode()
        pieces = [frame(payload[at : at + 1], first=0x00) for at in range(1, len(payload) - 1)]
        for _ in range(50):
            await raw.send(frame(payload[:1], first=0x01), *pieces, frame(payload[-1:], first=0x80))
            assert (await raw.until("=heard"))[2] == 1
            await trio.sleep(1)


async def test_one_address_has_one_pace_for_what_it_sends_in_bulk() -> None:
    """From thirty connections of one address that send large messages, the server reads 1 MiB at once, and then 512 KiB
    a second. Small messages and other addresses are not delayed, and no connection ends."""
    async with town() as here:
        raws = []
        for number in range(30):
            name = f"an-attacker-with-names-{number}"
            raws.append(await here.websocket(path=f"/rooms/plaza/{number}", client=name))
        large = frame(["say", {"text": "x" * 60_000}])
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for raw in raws:
                nursery.start_soon(raw.send, large * 4)
            await trio.sleep(0.1)
            assert heard(here) == pytest.approx(2**20 / 60_000, abs=2)
            await here.check_friend()
            async with here.join(ATTACKER, "/rooms/plaza/quiet", client=CLIENT) as neighbour:
                with trio.fail_after(0.1):
                    await neighbour.request(Know(), Heard)
        for raw in raws:
            await raw.send(frame(["know", {}, 1]))
            assert (await raw.until("=heard", "$bye"))[1] == {"texts": 4, "points": 0, "steered": 0, "wanted": None}
        assert trio.current_time() - began == pytest.approx((120 * 60_000 - 2**20) / 2**19, abs=1)


async def test_bulk_in_small_messages_is_bulk() -> None:
    """The bytes of a connection beyond 8 KiB a second count towards the pace of its address, even if the messages are
    small."""
    async with town() as here:
        small = frame(["say", {"text": "x" * 1000}])
        for number in range(30):
            raw = await here.websocket(path=f"/rooms/plaza/{number}", client=f"an-attacker-with-names-{number}")
            await raw.send(small * 90)
        await trio.sleep(0.1)
        assert heard(here) == pytest.approx((2**20 + 30 * 8 * 1024) / 1020, rel=0.1), (
            "the server must not read all 2,700 messages at once"
        )


async def test_coming_back_again_and_again_gains_nothing() -> None:
    """A client that disconnects and resumes again and again is read no faster than a client that stays connected."""
    async with town() as here:
        large, began = frame(["say", {"text": "x" * 60_000}]), trio.current_time()
        for attempt in range(1, 40):
            raw = await here.websocket(hello=False, address=ANOTHER)
            await raw.send(frame(["$hello", {"client": CLIENT, "attempt": attempt}]), large, large)
            await raw.until("$welcome")
            await trio.sleep(0.3)
            await raw.stream.aclose()
        most = 2**18 + (trio.current_time() - began) * 2**16
        assert heard(here) * 60_000 < most + 60_000


def heard(here: Town) -> int:
    """Return the number of texts that all rooms have received."""
    return sum(room.heard for room in here.server.site.directory.rooms if isinstance(room, Plaza))
