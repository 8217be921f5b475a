"""Tests of several servers with one broker. Each room runs at one server, and a client can join the room through any
server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import attrs
import pytest
import trio

import edge
from edge.client.client import Client, Status
from edge.client.fallback import TransportKind
from edge.cluster.broker.broker import Broker
from edge.codes import Code
from edge.errors import ServerUnreachable
from edge.server.app import site_of
from tests.cluster.servers import one_secret
from tests.small_rooms import Say

from .servers import LEASE_SECONDS, Place, Town, open_town


@edge.event("said")
class Said:
    who: str
    text: str


@edge.event("tip", delivery="volatile")
class Tip:
    text: str


class Chat(edge.Room[Say, Said | Tip]):
    """Broadcasts every event."""

    seats = edge.Seats(minimum=1, maximum=50, grace=20)

    async def player(self, player: edge.Player[Say, Said | Tip]) -> None:
        self.broadcast(Said("", f"{player.name} is here"))
        try:
            async for event in player:
                self.broadcast(Said(player.name, event.text))
        finally:
            self.broadcast(Said("", f"{player.name} has left"))


def make_app(broker: Broker) -> edge.App:
    return edge.App(
        {"chat": Chat},
        cluster=edge.Cluster(broker),
        sessions=one_secret(),
        api_token="the token of the web app",
    )


def chat(
    town: Town,
    *at: Place,
    name: str = "",
    key: str | None = None,
    kind: TransportKind = TransportKind.WEBSOCKET,
) -> AbstractAsyncContextManager[Client[Any, Any]]:
    """Join the room `chat/a`."""
    return town.join("/rooms/chat/a", *at, sends=Say, receives=Said | Tip, name=name, key=key, kind=kind)


async def hear(client: Client[Any, Any], *texts: str) -> None:
    for text in texts:
        assert (await client.receive(Said)).text == text


async def test_any_server_leads_to_the_room() -> None:
    """Players that join through three servers are in one room, which runs at one of these servers."""
    async with open_town(make_app, 3) as town:
        one, two, three = town.places
        async with (
            chat(town, one, name="ana") as ana,
            chat(town, two, name="ben") as ben,
        ):
            await ana.wait_status(Status.OPEN)
            await ben.wait_status(Status.OPEN)
            assert [place.rooms for place in town.places] in ([["chat/a"], [], []], [[], ["chat/a"], []])
            async with chat(town, three, name="cyn") as cyn:
                await cyn.wait_status(Status.OPEN)
                assert cyn.welcome is not None
                assert cyn.welcome.number == 2
                cyn.send(Say("hello"))
                for client in (ana, ben, cyn):
                    while (await client.receive(Said)).text != "hello":
                        pass
            await hear(ana, "cyn has left")
            await hear(ben, "cyn has left")


async def test_a_broadcast_travels_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast to ten clients that another server relays is sent to that server once."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with chat(town, one) as ana:
            await ana.wait_status(Status.OPEN)
            async with trio.open_nursery() as nursery:

                async def come() -> None:
                    async with chat(town, two) as client:
                        await client.wait_status(Status.OPEN)
                        await trio.sleep_forever()

                for _ in range(10):
                    nursery.start_soon(come)
                await trio.sleep(5)
                batches: list[bytes] = []
                post = town.shared.send

                async def spy(posted: Mapping[str, bytes]) -> frozenset[str]:
                    batches.extend(posted.values())
                    return await post(posted)

                monkeypatch.setattr(town.shared, "send", spy)
                ana.send(Say("a text to look for"))
                await trio.sleep(0.1)
                assert sum(batch.count(b"a text to look for") for batch in batches) == 1
                nursery.cancel_scope.cancel()


async def test_a_dead_carrier_costs_a_reconnect() -> None:
    """A client whose relaying server dies resumes its seat through another server, and no message is lost."""
    async with open_town(make_app, 3) as town:
        one, two, three = town.places
        async with (
            chat(town, one, name="ana") as ana,
        ):
            await ana.wait_status(Status.OPEN)
            async with chat(town, two, three, name="ben") as ben:
                await ben.wait_status(Status.OPEN)
                await hear(ana, "ana is here", "ben is here")
                town.kill(two)
                for number in range(20):
                    ana.send(Say(f"a{number}"))
                    ben.send(Say(f"b{number}"))
                assert ben.status is Status.OPEN
                texts = [(await ben.receive(Said)).text for _ in range(41)]
                assert texts[0] == "ben is here"
                assert [text for text in texts[1:] if text[0] == "a"] == [f"a{number}" for number in range(20)]
                assert [text for text in texts[1:] if text[0] == "b"] == [f"b{number}" for number in range(20)]
                assert ben.welcome is not None
                assert ben.welcome.resumed


async def test_a_dead_server_s_room_opens_elsewhere() -> None:
    """After a server dies and its leases expire, another server opens its room for a client that reconnects, and this
    client starts fresh."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with chat(town, one, two, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            assert one.rooms == ["chat/a"]
            async with chat(town, two, name="ben") as ben:
                await ben.wait_status(Status.OPEN)
                town.kill(one)
                await trio.sleep(LEASE_SECONDS + 1)
                assert two.rooms == ["chat/a"]
                assert [ana.status, ben.status] == [Status.OPEN, Status.OPEN]
                assert ana.welcome is not None
                assert not ana.welcome.resumed


async def test_a_lost_lease_ends_the_room() -> None:
    """A server that can't renew a lease closes the room before the lease expires. Another server opens the room
    later."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with chat(town, one, two, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            one.broker.cut = True
            (room,) = one.app.directory.rooms
            await room.wait_closed()
            (lease,) = await town.shared.leases()
            assert 0 < lease.seconds < LEASE_SECONDS / 5
            one.dead = True
            await trio.sleep(5)
            assert (two.rooms, ana.status) == (["chat/a"], Status.OPEN)


async def test_who_is_deaf_fails_loudly() -> None:
    """A server ends with ServerUnreachable if no message arrives, not even its own canaries, although the broker still
    renews its leases."""
    with pytest.RaisesGroup(ServerUnreachable, flatten_subgroups=True, allow_unwrapped=True):
        async with open_town(make_app, 2) as town:
            town.places[0].broker.unreachable = True
            await trio.sleep(60)


async def api(town: Town, at: int, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Send a request to a server's API, and return the status and the body of the response."""
    return await get(town, at, f"/edge-api/{path}", method, body)


async def get(town: Town, at: int, path: str, method: str = "GET", body: str = "") -> tuple[int, str]:
    """Send a request with the API's token to a server, and return the status and the body of the response."""
    stream = await town.places[at].wires.link().connect()
    head = f"{method} {path} HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n"
    head += f"authorization: Bearer the token of the web app\r\ncontent-length: {len(body)}\r\n\r\n"
    await stream.send_all((head + body).encode())
    answer = b""
    while data := await stream.receive_some():
        answer += data
    status, _, rest = answer.decode().partition("\r\n")
    return int(status.split()[1]), rest.partition("\r\n\r\n")[2]


async def test_the_api_works_at_any_server() -> None:
    """Each server's API can list and show rooms, publish, kick and revoke, whichever server has the room."""
    async with open_town(make_app, 2) as town:
        one, _ = town.places
        key = edge.Keys("a secret of all the servers").issue("u1", name="ana")
        async with chat(town, one, key=key) as ana:
            await ana.wait_status(Status.OPEN)
            await trio.sleep(LEASE_SECONDS)  # by then, the other server has received the list of rooms
            status, listed = await api(town, 1, "GET", "rooms")
            server = one.node.id
            room = {"kind": "chat", "name": "a", "seated": 1, "maximum": 50, "locked": False, "server": server}
            assert (status, json.loads(listed)) == (200, {"rooms": [room]})
            status, shown = await api(town, 1, "GET", "rooms/chat/a")
            assert (status, json.loads(shown)["seats"][0]["session"]) == (200, "u1")
            body = '{"event": "said", "body": {"who": "web", "text": "news"}}'
            assert await api(town, 1, "POST", "rooms/chat/a/publish", body) == (200, '{"seated": 1}')
            await hear(ana, "ana is here", "news")
            assert (await api(town, 1, "POST", "rooms/chat/a/publish", '{"event": "none"}'))[0] == 422
            assert (await api(town, 1, "POST", "rooms/chat/b/publish", body))[0] == 404
            assert await api(town, 1, "POST", "rooms/chat/a/kick", '{"session": "u1"}') == (200, "{}")
            with pytest.raises(edge.Disconnected) as kicked:
                await ana.receive(Said)
            assert kicked.value.code is Code.KICKED
        async with chat(town, one, key=key) as ana:
            await ana.wait_status(Status.OPEN)
            status, body = await api(town, 1, "POST", "revoke", '{"session": "u1"}')
            assert (status, [*json.loads(body)]) == (200, ["until"])
            await ana.wait_status(Status.CLOSED)
            assert ana.ending is not None
            assert ana.ending.code is Code.REVOKED


async def test_a_draining_server_sends_its_visitors_on() -> None:
    """When the server that relays a client drains, the client resumes through another server."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with chat(town, one, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            async with chat(town, two, one, name="ben") as ben:
                await ben.wait_status(Status.OPEN)
                await town.drain(two)
                await ben.wait_status(Status.OPEN)
                assert ben.welcome is not None
                assert ben.welcome.resumed
                await hear(ana, "ana is here", "ben is here")
                ben.send(Say("still here"))
                await hear(ana, "still here")


@pytest.mark.parametrize("kind", [TransportKind.STREAM, TransportKind.POLL])
async def test_a_line_s_requests_may_reach_any_server(kind: TransportKind) -> None:
    """The requests of one HTTP transport may reach different servers, so that no sticky sessions are needed."""
    async with open_town(make_app, 3) as town:
        await trio.sleep(LEASE_SECONDS)  # by then, the servers know each other
        async with chat(town, name="ana", kind=kind) as ana, chat(town, name="ben", kind=kind) as ben:
            await ana.wait_status(Status.OPEN)
            await ben.wait_status(Status.OPEN)
            for number in range(100):
                ben.send(Say(str(number)))
                while (await ana.receive(Said)).text != str(number):
                    pass
            await trio.sleep(60)  # in this time, polls end and the clients send new ones
            ben.send(Say("still here"))
            await hear(ana, "still here")
            assert sum(bool(place.wires.links) for place in town.places) > 1, "all requests went to one server"
            welcomes = [ana.welcome, ben.welcome]
            assert [welcome.why for welcome in welcomes if welcome is not None] == ["new", "new"]
            assert [ana.status, ben.status] == [Status.OPEN, Status.OPEN]


async def test_a_line_is_lost_with_its_server() -> None:
    """If all servers except the room's server die, a client with an HTTP transport keeps its seat, and loses no
    event."""
    async with open_town(make_app, 3) as town, chat(town, name="ana", kind=TransportKind.POLL) as ana:
        await ana.wait_status(Status.OPEN)
        await hear(ana, "ana is here")
        owner = next(place for place in town.places if place.rooms)
        for place in town.places:
            if place is not owner:
                town.kill(place)
        for number in range(20):
            ana.send(Say(str(number)))
            await trio.sleep(1)
        await hear(ana, *map(str, range(20)))
        assert ana.welcome is not None
        assert ana.welcome.why in ("", "new")


async def test_an_answer_that_comes_when_its_server_is_lost() -> None:
    """If a response arrives in the same iteration of the event loop in which its server is lost, the request proxy
    accepts it without an error."""
    async with open_town(make_app, 3) as town:
        await trio.sleep(LEASE_SECONDS)  # by then, the servers know each other
        proxy = town.places[0].server._proxy
        async with AsyncExitStack() as stack:
            while not proxy._forwarded:  # repeat until the HTTP transport of a client is at another server
                client = await stack.enter_async_context(chat(town, town.places[0], kind=TransportKind.POLL))
                await client.wait_status(Status.OPEN)
                await trio.sleep(1)
            for number, (home, _) in [*proxy._forwarded.items()]:
                proxy.lose(home)
                assert proxy.take(home, ["http-answer", number, ["finish", None]])
            await trio.sleep(10)
            assert client.status is Status.OPEN


async def test_a_client_is_sent_to_the_room_s_server() -> None:
    """A client is redirected to the room's server, instead of relayed, if that server has an address. If that server
    dies, the client returns to its first URL."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        site_of(one.app).cluster = attrs.evolve(site_of(one.app).cluster, address="ws://one.test")
        await trio.sleep(LEASE_SECONDS)  # by then, the other server knows the address
        async with chat(town, one, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            async with chat(town, two, one, name="ben") as ben:
                await ben.wait_status(Status.OPEN)
                await hear(ana, "ana is here", "ben is here")
                assert [len(place.wires.links) for place in town.places] == [2, 1]
                assert [place.node.carried for place in town.places] == [0, 0]
                town.kill(one)
                await trio.sleep(LEASE_SECONDS + 2)
                assert (two.rooms, ben.status) == (["chat/a"], Status.OPEN)


class Stubborn(Chat):
    """Continues while its server can't reach the broker."""

    when_cut_off = "continue"


@pytest.mark.parametrize("taken", [False, True])
async def test_a_room_may_go_on_by_itself(*, taken: bool) -> None:
    """A room with `when_cut_off = "continue"` continues while its server can't reach the broker. When the broker is
    back, the room continues if no other server has opened it, and ends otherwise."""

    def make_stubborn(broker: Broker) -> edge.App:
        return edge.App(
            {"chat": Stubborn},
            cluster=edge.Cluster(broker),
            sessions=one_secret(),
        )

    async with open_town(make_stubborn, 2) as town:
        one, two = town.places
        async with chat(town, one, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            await hear(ana, "ana is here")
            one.broker.cut = True
            await trio.sleep(10 * LEASE_SECONDS)
            ana.send(Say("still here"))
            await hear(ana, "still here")
            async with AsyncExitStack() as stack:
                if taken:
                    ben = await stack.enter_async_context(chat(town, two, name="ben"))
                    await ben.wait_status(Status.OPEN)
                    assert [one.rooms, two.rooms] == [["chat/a"], ["chat/a"]]
                one.broker.heal()
                await trio.sleep(2 * LEASE_SECONDS)
                await ana.wait_status(Status.OPEN)
                assert [one.rooms, two.rooms] == ([[], ["chat/a"]] if taken else [["chat/a"], []])


def drop_letters(monkeypatch: pytest.MonkeyPatch, town: Town, lost: dict[bytes, bool]) -> list[bytes]:
    """For each word in `lost`, drop the first batch that contains the word. If the word's value is True, the broker
    reports the loss to the sender. Return a list, to which each word is added when its batch is dropped."""
    post, dropped = town.shared.send, list[bytes]()

    async def drop(batches: Mapping[str, bytes]) -> frozenset[str]:
        kept, gone = dict(batches), set()
        for server, batch in batches.items():
            for word in lost:
                if word in batch and word not in dropped:
                    dropped.append(word)
                    del kept[server]
                    gone |= {server} if lost[word] else set()
        return (await post(kept) | batches.keys()) - gone

    monkeypatch.setattr(town.shared, "send", drop)
    return dropped


@pytest.mark.parametrize("known", [False, True])
async def test_a_first_letter_that_is_lost(monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
    """If the first batch of a peer link is lost, a client that joins through this link is connected within two
    seconds."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with chat(town, one, name="ana") as ana:
            await ana.wait_status(Status.OPEN)
            dropped = drop_letters(monkeypatch, town, {b"took": known})
            async with chat(town, two, name="ben") as ben:
                with trio.fail_after(2):
                    await ben.wait_status(Status.OPEN)
                assert dropped == [b"took"]


@pytest.mark.parametrize(
    "lost",
    [{b"hello": False}, {b"hello": True}, {b"hello": False, b"restart": False}, {b"hello": False, b"restart": True}],
)
async def test_a_lost_letter_is_found_out(monkeypatch: pytest.MonkeyPatch, lost: dict[bytes, bool]) -> None:
    """The sender repeats a lost batch within two seconds, even if the broker does not report the loss, no other batch
    follows, and the receiver's request to repeat it is also lost."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        async with AsyncExitStack() as stack:
            ana = await stack.enter_async_context(chat(town, one, name="ana"))
            await ana.wait_status(Status.OPEN)
            ben = await stack.enter_async_context(chat(town, two, name="ben"))
            await ben.wait_status(Status.OPEN)
            await trio.sleep(LEASE_SECONDS)
            dropped = drop_letters(monkeypatch, town, lost)
            ben.send(Say("hello"))
            with trio.fail_after(2):
                while (await ana.receive(Said)).text != "hello":
                    pass
            assert dropped == [*lost]
            assert ben.welcome is not None
            assert ben.welcome.resumed


async def test_while_the_broker_is_away() -> None:
    """When the broker is unreachable for longer than the leases last, all clients are disconnected, relayed clients
    included, and the servers are not ready. When the broker is back, the clients reconnect."""
    async with open_town(make_app, 2) as town, AsyncExitStack() as stack:
        one, two = town.places
        ana = await stack.enter_async_context(chat(town, one, name="ana"))
        await ana.wait_status(Status.OPEN)
        ben = await stack.enter_async_context(chat(town, two, name="ben"))
        await ben.wait_status(Status.OPEN)
        for place in town.places:
            place.broker.cut = True
        await trio.sleep(3 * LEASE_SECONDS)
        assert Status.OPEN not in (ana.status, ben.status)
        assert (await get(town, 1, "/readyz"))[0] == 503
        for place in town.places:
            place.broker.heal()
        await trio.sleep(3 * LEASE_SECONDS)
        assert [ana.status, ben.status] == [Status.OPEN, Status.OPEN]
        assert (await get(town, 1, "/readyz"))[0] == 200
