"""HTTP transports, request by request: repeated requests, and requests that break the protocol."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.errors import RemoteProtocolError
from edge.protocol.codec import JSON
from edge.protocol.records import Closed, Records, record
from edge.transports.http.http import HttpClient
from edge.transports.http.served import ServedHttpTransport
from tests.network import Network, open_network
from tests.server.http import Answer, ask
from tests.small_rooms import Echo, Said, Say

HELLO = JSON.encode(["$hello", {"version": 1, "name": "ana", "client": "a-client-of-its-own"}])


def say(text: str) -> bytes:
    return record(JSON.encode(["say", {"text": text}]))


class RawLine:
    """Sends single requests as the client of one HTTP transport."""

    def __init__(self, network: Network, name: str = "a-line-of-the-tests", path: str = "/rooms/echo/one") -> None:
        self.network = network
        self.path = path
        self.headers = {"edge-connection": name, "edge-protocol": "edge.1.json"}

    async def post(self, first: object, body: bytes, has: object = 0) -> Answer:
        headers = {**self.headers, "edge-first": str(first), "edge-has": str(has)}
        return await ask(self.network, "POST", self.path, headers, body)

    async def poll(self, has: object, mode: str = "poll") -> Answer:
        return await ask(self.network, "GET", self.path, {**self.headers, "edge-mode": mode, "edge-has": str(has)})

    async def frames(self, has: int) -> list[str]:
        answer = await self.poll(has)
        assert answer.status == 200
        return [str(item) for item in Records(10**6).feed(answer.body)]


async def test_a_post_can_be_made_again_and_a_poll_too() -> None:
    """Frames in a repeated POST are not delivered twice. A repeated GET returns the unacknowledged frames again."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        assert (await line.post(0, record(HELLO))).body == b"1"
        assert (await line.post(0, record(HELLO))).body == b"1"
        (welcome,) = await line.frames(0)
        assert await line.frames(0) == [welcome]
        assert (await line.post(1, say("a") + say("b"), has=1)).body == b"3"
        assert (await line.post(1, say("a") + say("b") + say("c"), has=1)).body == b"4"
        await trio.sleep(0.1)
        said = [f'["said",{{"text":"{text}"}}]' for text in "abc"]
        assert (await line.frames(1))[:3] == said
        assert (await line.frames(2))[:2] == said[1:]


async def test_a_cut_off_post_counts_as_far_as_it_is_whole() -> None:
    """The server accepts the complete frames of an incomplete POST, and the client continues with the next frame."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        assert (await line.post(0, record(HELLO) + say("a")[:5])).body == b"1"
        assert (await line.post(1, say("a"))).body == b"2"


@pytest.mark.parametrize(
    ("first", "has", "body", "code"),
    [
        (5, 0, b"", Code.MALFORMED),
        (1, 99, b"", Code.MALFORMED),
        (1, 0, b"x1\nz", Code.MALFORMED),
        (1, 0, b"t99999999\n", Code.TOO_LARGE),
        (1, 0, b"t1\n\xff", Code.MALFORMED),
        (1, 0, b"no record at all, and long", Code.MALFORMED),
        ("one", 0, b"", Code.MALFORMED),
        (1, "-1", b"", Code.MALFORMED),
    ],
)
async def test_what_breaks_a_rule_is_refused(first: object, has: object, body: bytes, code: Code) -> None:
    """A request that breaks a rule of the HTTP transport is answered with 400 and a code."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        answer = await line.post(first, body, has)
        assert (answer.status, answer.code) == (400, str(code.value))


async def test_lines_that_are_not_there() -> None:
    """Requests for an HTTP transport that has ended or never existed, or with another room, a bad name or a bad header,
    are refused."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        elsewhere = RawLine(network, path="/rooms/echo/two")
        assert (await elsewhere.post(1, b"")).code == str(Code.MALFORMED.value)
        other = RawLine(network, name="a-line-of-somebody")
        never = RawLine(network, name="a-line-that-never-was")
        assert (await never.post(3, b"")).status == 410
        assert (await never.poll(3)).code == str(Code.LOST.value)
        assert (await RawLine(network, name="short").post(0, b"")).code == str(Code.MALFORMED.value)
        unspoken = RawLine(network, name="a-line-of-another-kind")
        unspoken.headers["edge-protocol"] = "edge.2.json"
        assert (await unspoken.post(0, b"")).code == str(Code.VERSION.value)
        assert (await line.poll(0, mode="carrier pigeon")).code == str(Code.MALFORMED.value)
        await line.poll(0)
        bye = record(JSON.encode(["$bye", {"code": 4200, "reason": ""}])) + record(Closed(4200))
        await line.post(1, bye)
        await wait_all_tasks_blocked()
        assert (await line.post(2, b"", has=1)).status == 410
        await trio.sleep(16)
        await other.post(0, b"")  # the request for another transport removes those that ended long ago
        assert (await line.poll(1)).status == 410


async def test_a_post_does_not_overtake_the_last_words() -> None:
    """After a kick, a POST is answered as usual until the client has acknowledged the goodbye, and then with 410 and
    the code."""
    app = edge.App({"echo": Echo})
    async with open_network(app) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        (room,) = app.directory.rooms
        room.players[0].send(Said("the last"))
        room.players[0].kick("out")
        await wait_all_tasks_blocked()
        for _ in range(2):
            assert (await line.post(1, say("a") + say("b"), has=1)).body == b"3"
        said, bye, _ = Records(10**6).feed((await line.poll(1)).body)
        assert "the last" in str(said)
        assert str(Code.KICKED.value) in str(bye)
        assert (await line.post(3, say("c"), has=2)).body == b"4"
        over = await line.post(4, b"", has=3)
        assert (over.status, over.code) == (410, str(Code.KICKED.value))


async def test_the_last_words_of_a_line_can_be_asked_for_again() -> None:
    """A client can request the goodbye again, so that the client does not mistake a kick for a lost connection."""
    app = edge.App({"echo": Echo})
    async with open_network(app) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        (room,) = app.directory.rooms
        room.players[0].kick("spam")
        for _ in range(3):
            bye, closed = Records(10**6).feed((await line.poll(1)).body)
            assert JSON.decode(str(bye))[1]["code"] == Code.KICKED
            assert closed == Closed(Code.KICKED)
            assert (await line.post(1, say("x"), has=1)).body == b"2"
        assert (await line.post(1, say("x"), has=2)).code == str(Code.KICKED.value)


async def test_a_draining_server_waits_for_who_polls() -> None:
    """After the start of a drain, a poll gets the goodbye at once, and idle connections close after two seconds."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        clients = [HttpClient(await network.connect(), "edge.test") for _ in range(2)]
        headers = {**line.headers, "edge-first": "0", "edge-has": "0"}
        for client in clients:
            assert (await client.request("POST", line.path, headers, record(HELLO)))[0] == 200
            await client.receive_all()
        await line.frames(0)
        began = trio.current_time()
        network.server.drain()
        polled = {**line.headers, "edge-mode": "poll", "edge-has": "1"}
        assert (await clients[0].request("GET", line.path, polled))[0] == 200
        bye, _ = Records(10**6).feed(await clients[0].receive_all())
        assert JSON.decode(str(bye))[1]["code"] == Code.DRAINING
        assert trio.current_time() == began
        assert await clients[1].stream.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(2)


async def test_a_line_without_requests_is_lost_and_the_seat_waits() -> None:
    """An HTTP transport without requests for fifteen seconds is lost, and the seat waits."""
    app = edge.App({"echo": Echo})
    async with open_network(app) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        room = app.directory.find("echo", "one")
        assert room is not None
        (player,) = room.players
        await trio.sleep(14)
        assert player.connected
        with trio.move_on_after(10):
            await line.poll(1)
        await trio.sleep(14)
        assert player.connected
        await trio.sleep(1.1)
        assert not player.connected
        assert (await line.poll(1)).status == 410


async def test_a_newer_poll_ends_the_older() -> None:
    """A new poll ends an unanswered older poll, whose connection a proxy may still keep open."""
    async with open_network(edge.App({"echo": Echo})) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def older() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await line.poll(1)

            await wait_all_tasks_blocked()

            @nursery.start_soon
            async def newer() -> None:
                assert len(await line.frames(1)) == 1

            await wait_all_tasks_blocked()
            await line.post(1, say("x"), has=1)


async def test_a_busy_room_takes_of_a_post_what_it_can() -> None:
    """A POST to a busy room is answered after five seconds with the number of frames that the room has accepted."""

    class Slow(Echo):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            async for _ in player.listen(Say):
                await trio.sleep(1)

    async with open_network(edge.App({"echo": Slow}, limits=edge.Limits(inbox=4))) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        words = [say(str(number)) for number in range(200)]
        began, count = trio.current_time(), 1
        for _ in range(3):
            answer = await line.post(count, b"".join(words[count - 1 :]), has=1)
            assert count < int(answer.body) < 200
            count = int(answer.body)
        assert 14 < trio.current_time() - began < 16


async def test_overlapping_posts_give_each_frame_once() -> None:
    """Simultaneous POSTs with the same frames deliver each frame once."""

    class Slow(Echo):
        heard: list[str] = []  # noqa: RUF012  # the test creates only one instance

        async def player(self, player: edge.Player[Say, Said]) -> None:
            async for event in player.listen(Say):
                self.heard.append(event.text)
                await trio.sleep(0.1)

    async with open_network(edge.App({"echo": Slow}, limits=edge.Limits(inbox=4))) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        body = b"".join(say(str(number)) for number in range(150))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(line.post, 1, body, 1)
        while int((answer := await line.post(1, body, 1)).body) < 151:
            pass
        await trio.sleep(20)
        assert answer.body == b"151"
        assert Slow.heard == [str(number) for number in range(150)]


async def test_what_waits_on_a_line_is_weighed() -> None:
    """An HTTP transport stores about 256 KiB of frames until its receiver takes them, and drops them when it is
    closed."""
    line = ServedHttpTransport(edge.Limits())
    large = record("x" * 60_000)
    assert await line.post(0, 0, large * 10) == 5
    assert await line.receive() == "x" * 60_000
    assert await line.post(5, 0, large * 5) == 6
    with trio.move_on_after(1):
        await line.close()
    assert not line._arrived


async def test_a_lost_line_is_noticed_by_a_busy_room() -> None:
    """The server notices that an HTTP transport is lost even if its frames are not read because the player's inbox is
    full."""

    class Busy(Echo):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            async for _ in player.listen(Say):
                await trio.sleep_forever()

    app = edge.App({"echo": Busy}, limits=edge.Limits(inbox=4))
    async with open_network(app) as network:
        line = RawLine(network)
        await line.post(0, record(HELLO))
        await line.frames(0)
        await line.post(1, b"".join(say(str(number)) for number in range(70)), has=1)
        (room,) = app.directory.rooms
        assert room.players[0].connected
        await trio.sleep(40)
        assert not room.players[0].connected


def test_records() -> None:
    """`Records` reads the same records however a body is split. A record that is too large raises
    RemoteProtocolError."""
    items: list[str | bytes | Closed] = ["", "é\u2028🎨", b"\x00\xff", Closed(4221), "x" * 300]
    body = b"k0\n".join(record(item) for item in items)
    for at in range(len(body)):
        records = Records(1000)
        assert [*records.feed(body[:at]), *records.feed(body[at:])] == items
    with pytest.raises(RemoteProtocolError, match="too large"):
        list(Records(10).feed(record("x" * 11)))
