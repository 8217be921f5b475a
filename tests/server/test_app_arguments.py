"""Mistakes in the arguments of an app, which raise an error when the app is created.

These tests detect a mistake of an author that causes an error only when a player connects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

import edge
from edge.server.asgi import Mount
from edge.server.limiter import AddressLimits
from edge.server.static import StaticFolder
from edge.transports.http.http import Request, Response
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer

F = TypeVar("F")


class Base(edge.Room[F, ToPlayer]):
    pass


class Needy(Quiet):
    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(
    ("rooms", "message"),
    [
        ([Quiet], "rooms must be a mapping"),
        ({"quiet": Quiet()}, r"rooms\['quiet'\] is <Quiet .*: give the class"),
        ({"base": Base}, "Base is a generic base class and cannot make rooms"),
        ({"base": Base[FromPlayer]}, "Base is a generic base class and cannot make rooms"),
        ({3: Quiet}, "a kind of room must be a string"),
        ({"number": int}, r"rooms\['number'\] is <class 'int'>: give the class"),
        ({"needy": Needy}, r"rooms\['needy'\] may only need the arguments `name` and `options`: missing .* 'size'"),
    ],
)
def test_rooms_that_cant_be_made(rooms: Any, message: str) -> None:
    """`App` refuses a list of room classes, a kind whose name is no string, and a kind that is an instance, a generic
    base, a class without rooms, or a class that needs arguments."""
    with pytest.raises(TypeError, match=message):
        edge.App(rooms)
    assert len(edge.App({"quiet": Quiet, "made": lambda: Quiet(), "sized": partial(Needy, 3)}).directory.kinds) == 3


def test_what_is_no_mapping() -> None:
    """`static` and `headers` raise TypeError if they are not mappings."""
    with pytest.raises(TypeError, match="static must be a mapping"):
        edge.App({}, static="web")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="headers must be a mapping"):
        StaticFolder("web", headers="x")  # type: ignore[arg-type]


def test_a_broker_is_no_address() -> None:
    """A URL as the broker raises TypeError, because only the command line accepts a URL."""
    with pytest.raises(TypeError, match=r"broker must be a Broker, such as RedisBroker\(url\), not 'redis:"):
        edge.App({"quiet": Quiet}, cluster=edge.Cluster("redis://localhost"))  # type: ignore[arg-type]


async def no_app(*args: Any) -> None:
    """An ASGI app that does nothing."""


def test_bodies_that_no_address_may_send() -> None:
    """`max_body_bytes` above the limit of one address raises ValueError. Both limits can be raised together."""
    large = Mount(no_app, max_body_bytes=17_000_000)
    with pytest.raises(ValueError, match=r"Mount.max_body_bytes=17000000 must be from 0 to 16777216: AddressLimits"):
        edge.App({}, mount=large)
    app = edge.App({}, mount=large, address_limits=AddressLimits(body_bytes_each=20_000_000))

    async def route(request: Request) -> Response:
        return Response()

    assert app.route("/a", max_body_bytes=20_000_000)(route) is route
    with pytest.raises(ValueError, match="max_body_bytes=20000001 must be from 0"):
        app.route("/b", max_body_bytes=20_000_001)


@pytest.mark.parametrize("delivery", ["lastest", "", None])
def test_a_delivery_that_is_none(delivery: Any) -> None:
    """An unknown delivery raises TypeError, because otherwise a misspelt "reliable" would make an event that can be
    lost."""
    with pytest.raises(TypeError, match="delivery must be 'reliable', 'latest' or 'volatile'"):
        edge.event("odd", delivery=delivery)(type("Odd", (), {}))


@pytest.mark.parametrize("kind", ["", "a room", "_hidden", "-x", "x" * 65, "ä"])
def test_a_kind_of_room_has_a_name_for_urls(kind: str) -> None:
    """A kind whose name does not fit into the address of a room raises ValueError, with the rule."""
    with pytest.raises(ValueError, match="1 to 64 letters, digits, _ or -, and begins with a letter or a digit"):
        edge.App({kind: Quiet})


def test_an_address_that_is_no_url() -> None:
    """The address of a server is checked when the app is made."""
    with pytest.raises(ValueError, match="is not a ws://, wss://, http:// or https:// address"):
        edge.Cluster(address="one.example")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: edge.App({}, sessions=edge.Sessions), "sessions must be an instance of edge.Sessions"),  # type: ignore[arg-type]
        (lambda: edge.App({}, cluster="redis://x"), "cluster must be an instance of edge.Cluster"),  # type: ignore[arg-type]
        (lambda: edge.App({}, limits=3), "limits must be an instance of edge.Limits"),  # type: ignore[arg-type]
        (lambda: edge.App({}, address_limits=AddressLimits), "must be an instance of AddressLimits"),  # type: ignore[arg-type]
        (lambda: edge.App({}, mount=3), "mount must be an ASGI app"),  # type: ignore[arg-type]
        (lambda: edge.App({}, mount=Mount(Mount(no_app))), "mount must be an ASGI app"),  # type: ignore[arg-type]
        (lambda: Mount(no_app, max_body_bytes="1"), "max_body_bytes must be a number of bytes"),  # type: ignore[arg-type]
        (lambda: Mount(no_app, max_body_bytes=True), "max_body_bytes must be a number of bytes"),
        (lambda: edge.Sessions(keys="secret"), "Sessions.keys must be an instance of edge.Keys"),  # type: ignore[arg-type]
        (lambda: edge.Sessions(guests="no"), "Sessions.guests must be True or False"),  # type: ignore[arg-type]
        (lambda: edge.Sessions(cookie="edge"), "Sessions.cookie must be an instance"),  # type: ignore[arg-type]
        (lambda: edge.Cluster(balance="x"), "Cluster.balance must be True or False"),  # type: ignore[arg-type]
        (lambda: edge.Cluster(address=3), "the address of a server must be a URL"),  # type: ignore[arg-type]
        (lambda: AddressLimits(rooms=1.5), "AddressLimits.rooms must be a number above 0"),  # type: ignore[arg-type]
        (lambda: AddressLimits(rooms="5"), "AddressLimits.rooms must be a number above 0"),  # type: ignore[arg-type]
        (lambda: edge.App({}, static={3: "web"}), "a prefix of static must be a path"),  # type: ignore[dict-item]
    ],
)
def test_an_option_of_the_wrong_type(make: Callable[[], object], message: str) -> None:
    """An option of the wrong type raises TypeError at its call, with a message that names the accepted values."""
    with pytest.raises(TypeError, match=message):
        make()


HEADERS: list[dict[str, Any]] = [
    {"x": 3},
    {"x": "€"},
    {"x": "a\r\nb: c"},
    {"a b": "c"},
    {"Content-Length": "1"},
    {"ETag": "x"},
]


def test_prefixes_and_headers_that_cannot_be_served(tmp_path: Path) -> None:
    """A prefix without its slash raises ValueError. So do a limit of 0 rooms, an invalid header, and a header that the
    server itself sets."""
    with pytest.raises(ValueError, match="begins with a slash"):
        edge.App({}, static={"web": tmp_path})
    with pytest.raises(ValueError, match="begins with a slash"):
        edge.App({}).include("x", edge.App({}))
    with pytest.raises(ValueError, match=r"AddressLimits.rooms must be a number above 0"):
        AddressLimits(rooms=0)
    for headers in HEADERS:
        with pytest.raises(ValueError, match=r"is not a valid header|the server itself sets"):
            StaticFolder(tmp_path, headers=headers)
