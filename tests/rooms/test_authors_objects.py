"""The public members of authors' objects, and the messages for mistakes in a class."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import edge
from tests.rooms.quiet import Quiet, Verdict

# Add a public member only deliberately, because authors then can't use its name for their own attributes.
MEMBERS: dict[type[Any], str] = {
    edge.Room: "admit apply at authorize authorize_seconds broadcast changing cleanup_seconds close closing every"
    " facts fence greet has_round join_options kind listen lock name names now open_round patch_seconds"
    " persist persistent player players publish random rename reset restarts restore run seats setup setup_seconds"
    " share shielded_cleanup snapshot ticks unlock wait_closed when_cut_off",
    edge.Player: "answering ask connected ending kick latest left listen name number options receive refuse reply"
    " restored send session shielded_cleanup",
    edge.Seats: "changes enough find free grace locked maximum minimum players presence wait_change wait_minimum",
    edge.Round: "deadline end_at extend outcome players reason remaining start_soon turn",
    edge.Turn: "deadline end_at extend max_absence outcome paused player remaining seconds",
    edge.App: "cookie directory include keys list_rooms revoke route session",
}


@pytest.mark.parametrize("cls", MEMBERS, ids=lambda cls: cls.__name__)
def test_the_public_members_are_those_that_were_decided_on(cls: type[Any]) -> None:
    """Authors' objects have exactly the public members in `MEMBERS`."""
    members = sorted(name for name in dir(cls) if not name.startswith("_"))
    assert members == MEMBERS[cls].split(), (
        "MEMBERS must list each public member; CONTRIBUTING.md says when to add a member"
    )


@pytest.mark.parametrize("cls", MEMBERS, ids=lambda cls: cls.__name__)
def test_every_public_member_is_documented(cls: type[Any]) -> None:
    """Every public method and property has a docstring."""
    for name in MEMBERS[cls].split():
        member = vars(cls)[name]
        if callable(member) or isinstance(member, property):
            assert member.__doc__, name


class Pub(Quiet):
    """Uses attribute names that authors may want, and that earlier versions of edge used for themselves."""

    def __init__(self) -> None:
        self.keeper, self.lease, self.lost, self.listeners = "ana", 3, "a glove", 4
        self.about, self.live, self.tally, self.runtime = "a pub", False, 0, "all day"
        self._nursery, self._round, self._state, self._runtime, self._seats = 1, 2, 3, 4, 5


async def test_any_other_name_is_the_authors(edge_room: Any) -> None:
    """Authors can use every name that is not a public member for attributes of rooms and players."""
    room = await edge_room(Pub)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    player.scope, player._runtime, player.score, player.state = "wide", 1, 2, "merry"
    room.room.broadcast(Verdict(True))
    assert await ana.receive() == Verdict(True)
    assert (room.room.keeper, room.room._round, player.state) == ("ana", 2, "merry")


def define(**members: Any) -> Callable[[], object]:
    return lambda: type("Pub", (Quiet,), {"__module__": __name__, **members})


async def waits(self: Any, *_: Any) -> None: ...
async def loops(self: Any) -> AsyncIterator[int]:
    yield 1


def returns(self: Any, *_: Any) -> None: ...


async def alone(self: Any) -> None: ...
async def more(self: Any, much: int) -> None: ...
@functools.wraps(returns)
async def async_wrapper(self: Any, *_: Any) -> None: ...


class Named:
    name = "The Red Lion"


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "a sync run": (define(run=returns), "Pub.run is a plain def: edge awaits it, so make it an async def"),
    "a sync player": (define(player=returns), "Pub.player is a plain def: .*make it an async def"),
    "an async admit": (define(admit=waits), "Pub.admit is async: edge calls it without await, so make it a plain def"),
    "an async greet": (define(greet=waits), "Pub.greet is async: .*make it a plain def"),
    "a run that yields": (define(run=loops), "Pub.run has a yield: edge does not iterate over it, so remove"),
    "a run that is no method": (define(run=3), "Pub.run is 3: edge.Room.run is a method, so define one"),
    "an async admit, wrapped": (define(admit=async_wrapper), "Pub.admit is async"),
    "a run that is a class": (define(run=int), "Pub.run is <class 'int'>: edge.Room.run is a method"),
    "a player without its player": (
        define(player=alone),
        r"Pub.player is called as player\(self, player\), and",
    ),
    "a run with more": (
        define(run=more),
        r"Pub.run is called as run\(self\), and does not accept this: missing .*'much'",
    ),
    "seats that are a text": (
        lambda: edge.Seats(maximum="4"),  # type: ignore[arg-type]
        r"Seats\(maximum='4'\): maximum must be an int",
    ),
    "grace that is none": (
        lambda: edge.Seats(grace=None),  # type: ignore[arg-type]
        r"Seats\(grace=None\): grace must be seconds",
    ),
    "grace that is less": (lambda: edge.Seats(grace=-1), r"Seats\(grace=-1\): .* not less than 0"),
    "grace that is no number": (lambda: edge.Seats(grace=math.nan), r"Seats\(grace=nan\)"),
    "seats of one's own": (
        lambda: type("Mine", (edge.Seats,), {}),
        "Mine inherits from edge.Seats",
    ),
    "a name of a member": (define(name="The Red Lion"), "Pub.name hides a member of edge.Room: call your attribute"),
    "a method of a member": (define(close=returns), "Pub.close hides a member of edge.Room: call your attribute"),
    "an annotated member": (define(__annotations__={"players": int}), "Pub.players hides a member of edge.Room"),
    "a member in a mix-in": (lambda: type("Pub", (Named, Quiet), {}), "Named.name hides a member of edge.Room"),
    "seats of another type": (define(seats=4), r"Pub.seats is 4: make it an edge.Seats\(...\)"),
    "restarts of another type": (define(restarts=4), r"Pub.restarts is 4: make it a Restarts\(...\)"),
    "an unknown policy": (define(when_cut_off="stop"), 'Pub.when_cut_off is "pause" or "continue", not \'stop\''),
    "half a snapshot": (define(snapshot=returns), "Pub has only one of snapshot and restore: a persistent room needs"),
    "half a restore": (define(restore=returns), "Pub has only one of snapshot and restore: a persistent room needs"),
    "facts without apply": (define(facts=Verdict), "Pub has facts"),
    "a room that is none": (
        lambda: edge.App({"pub": 3}),  # type: ignore[dict-item]
        r"rooms\['pub'\] is 3: give the class, or a function",
    ),
    "rooms in a list": (
        lambda: edge.App([Quiet]),  # type: ignore[arg-type]
        'rooms must be a mapping such as {"drawing": Drawing}',
    ),
    "a folder that is not there": (
        lambda: edge.App({}, static={"/": Path("/nowhere")}),
        r"static\['/'\] is '/nowhere', which is not an existing folder",
    ),
    "a turn of one's own": (lambda: edge.Turn(), "Turn has no public constructor"),  # type: ignore[call-arg]
    "a player of one's own": (lambda: edge.Player(), "Player has no public constructor"),  # type: ignore[call-arg]
    "a round of one's own": (lambda: edge.Round(), "Round has no public constructor"),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_where_it_is_made(mistake: str) -> None:
    """A mistake raises an error when the class is defined or the method is called. The message names the mistake."""
    make, says = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError), match=says):
        make()


@pytest.mark.parametrize("name", [*MEMBERS[edge.Room].split()])
def test_no_attribute_of_a_room_hides_a_member(name: str) -> None:
    """Assigning to a member of `Room` raises an error, because the assignment would silently replace the member."""
    with pytest.raises(AttributeError, match=rf"Quiet.{name} is .*(call your attribute|write it in the body)"):
        setattr(Quiet(), name, "ana")


@attrs.define
class Table:
    pot: int = 0


@pytest.mark.parametrize("declared", [edge.shared(Table), edge.shared(Table, each=True)])
def test_a_document_is_declared_in_the_body_of_the_class(declared: Any) -> None:
    """A document that is declared in `__init__` would not be shared, so it is an error."""
    with pytest.raises(AttributeError, match=r"Quiet.table has no effect here: declare it in the body of class"):
        Quiet().table = declared  # type: ignore[attr-defined]


def test_an_async_run_in_a_sync_wrapper_is_one() -> None:
    """`run` may be a wrapped async function or a partial method of one."""

    @functools.wraps(waits)
    def wrapped(self: Any) -> Any:
        return waits(self)

    @functools.wraps(returns)
    async def awaitable(self: Any) -> None:
        returns(self)

    for run in (wrapped, awaitable, functools.partialmethod(waits, 3)):
        define(run=run)()


async def test_a_coroutine_of_admit_admits_nobody(edge_room: Any, caplog: pytest.LogCaptureFixture) -> None:
    """If `admit` returns a coroutine, which the check of the class could not detect, the applicant is refused."""

    class Careless(Quiet):
        admit = lambda self, applicant: waits(self)  # type: ignore[assignment] # noqa: E731

    room = await edge_room(Careless)
    room.expect_crash("admit() raised")
    with pytest.raises(edge.Disconnected):
        await room.join("ana")
    assert "admit() has returned a coroutine" in caplog.text


async def test_no_attribute_of_a_player_hides_a_member(edge_room: Any) -> None:
    """Assigning to a member of `Player` or `Seats` raises AttributeError, even if the member is a method."""
    room = await edge_room(Quiet)
    await room.join("ana")
    with pytest.raises(AttributeError, match=r"Player.send is a member of edge.Player: call your attribute something"):
        room.room.players[0].send = 3
    with pytest.raises(AttributeError, match=r"Seats.find is a member of edge.Seats"):
        room.room.seats.find = 3


class Room(Quiet):
    """Has the same name as edge.Room."""

    def __init__(self) -> None:
        self.__runtime, self.__seats, self.__kind = 1, 2, 3


async def test_a_room_may_be_called_room(edge_room: Any) -> None:
    """A room class can be called Room, because its private names do not collide with those of edge.Room."""
    room = await edge_room(Room)
    (ana,) = await room.join("ana")
    room.room.broadcast(Verdict(True))
    assert await ana.receive() == Verdict(True)
    assert room.room._Room__seats == 2


@pytest.mark.parametrize("name", ["name", "number", "session", "left", "connected", "ending", "restored"])
async def test_what_a_player_is_cant_be_set(edge_room: Any, name: str) -> None:
    """Assigning to a property of a player raises AttributeError."""
    room = await edge_room(Quiet)
    await room.join("ana")
    with pytest.raises(AttributeError):
        setattr(room.room.players[0], name, "ben")
