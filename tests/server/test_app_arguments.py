"""Mistakes in the arguments of an app, which raise an error when the app is created.

The kind of fault that these tests detect: an author's mistake that causes an error only when a player connects.
"""

from __future__ import annotations

from functools import partial
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
        ({"needy": Needy}, r"rooms\['needy'\] must be callable without arguments: missing .* 'size'"),
    ],
)
def test_rooms_that_cant_be_made(rooms: Any, message: str) -> None:
    """`App` refuses a list of room classes, and kinds of rooms that are an instance, a generic base, or a class that
    needs arguments."""
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
