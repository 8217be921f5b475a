"""Mistakes in what an app is made of: found when it is made, and not by those who join.

The kind: a mistake of the author's that only a player's connection brought to light.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import pytest

import edge
from edge.server.limiter import AddressLimits
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
    """A list of classes, a room that is made already, and a base that does not say its events."""
    with pytest.raises(TypeError, match=message):
        edge.App(rooms)
    assert len(edge.App({"quiet": Quiet, "made": lambda: Quiet(), "sized": partial(Needy, 3)}).directory.kinds) == 3


@pytest.mark.parametrize("given", [{"static": "web"}, {"static_headers": "x"}])
def test_what_is_no_mapping(given: dict[str, Any]) -> None:
    """Folders and headers are given by name."""
    with pytest.raises(TypeError, match="must be a mapping, not"):
        edge.App({}, **given)


def test_a_broker_is_no_address() -> None:
    """An address is for the command line."""
    with pytest.raises(TypeError, match=r"broker must be a Broker, such as RedisBroker\(url\), not 'redis:"):
        edge.App({"quiet": Quiet}, broker="redis://localhost")  # type: ignore[arg-type]


def test_bodies_that_no_address_may_send() -> None:
    """A limit that another one makes impossible to reach; together they are fine."""
    with pytest.raises(
        ValueError, match=r"mount_body_bytes=17000000 is more .* AddressLimits.body_bytes_each=16777216"
    ):
        edge.App({}, mount_body_bytes=17_000_000)
    app = edge.App({}, mount_body_bytes=17_000_000, address_limits=AddressLimits(body_bytes_each=20_000_000))

    async def route(request: Request) -> Response:
        return Response()

    assert app.route("/a", max_body_bytes=20_000_000)(route) is route
    with pytest.raises(ValueError, match="max_body_bytes=20000001 is more"):
        app.route("/b", max_body_bytes=20_000_001)


@pytest.mark.parametrize("delivery", ["lastest", "", None])
def test_a_delivery_that_is_none(delivery: Any) -> None:
    """An event with a misspelt delivery would not be counted, nor be sent again."""
    with pytest.raises(TypeError, match="delivery must be 'reliable', 'latest' or 'volatile'"):
        edge.event("odd", delivery=delivery)(type("Odd", (), {}))
