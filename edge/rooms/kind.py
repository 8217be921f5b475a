"""The declarations of a room class. edge reads and checks them once, when the class is defined."""

from __future__ import annotations

import inspect
import math
import typing
from types import FunctionType
from typing import Any

import attrs

from ..aio.members import public_members
from ..protocol.events import EventType, Vocabulary, check_rename
from ..protocol.field_kinds import Rename, is_union
from ..protocol.field_types import check_key, check_type
from ..shared.mirrors import MirroredDocument
from .documents import DocumentKind, document_kinds
from .opening import check_options_class
from .restarts import Restarts
from .type_arguments import type_arguments, unresolved

NO_EVENTS = "give the base class two unions of event classes, as in edge.Room[FromPlayer, ToPlayer]; None for no events"

# The members of `Room` that an author may override: coroutine functions, plain functions, and settings.
ASYNC = ("setup", "authorize", "run", "player")
SYNC = ("admit", "greet", "publish", "snapshot", "restore", "apply")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "setup": (),
    "authorize": ("applicant",),
    "run": (),
    "player": ("player",),
    "admit": ("applicant",),
    "greet": ("player",),
    "publish": ("event",),
    "snapshot": (),
    "restore": ("state",),
    "apply": ("fact",),
}
SECONDS = ("setup_seconds", "authorize_seconds", "cleanup_seconds")
SETTINGS = (
    "seats",
    "restarts",
    "when_cut_off",
    "facts",
    "rename",
    "join_options",
    "patch_seconds",
    "persistent",
    *SECONDS,
)


@attrs.frozen(eq=False)
class RoomKind:
    """The declarations of one room class."""

    class_name: str
    receives: Vocabulary
    """The events that players may send."""
    sends: Vocabulary
    """The events that the room may send."""
    facts: Vocabulary
    """The classes of facts: `Room.persist` accepts their instances."""
    state_class: type[Any] | None
    """The attrs class that `Room.snapshot` returns, read from its annotation; None for plain data."""
    persistent: bool
    """True if another server can restore the room."""
    has_snapshot: bool
    """True if the class defines `snapshot`."""
    persists_documents: bool
    """See `Room.persistent`."""
    restarts: Restarts
    continues_without_broker: bool
    """True if the room continues while its server cannot reach the broker: see `Room.when_cut_off`."""
    documents: tuple[DocumentKind, ...]
    """The declarations of the shared documents."""
    patch_seconds: float
    """See `Room.patch_seconds`."""
    rename: Rename
    """See `Room.rename`."""
    join_options: type[Any] | None
    """The class of the join options; None if the room has none."""
    has_setup: bool
    """True if the class defines `setup`, which runs before anybody is admitted."""
    has_authorize: bool
    """True if the class defines `authorize`."""
    has_player: bool
    """True if the class defines `player`, which may listen for events."""
    setup_seconds: float
    authorize_seconds: float
    cleanup_seconds: float
    """See `Room.setup_seconds`, `Room.authorize_seconds` and `Room.cleanup_seconds`."""
    is_generic: bool
    """True if the class has unbound type variables for its events. Only subclasses that bind them can make rooms."""

    @classmethod
    def of(cls, room: type[Any], base: type[Any]) -> RoomKind:
        """Return the declarations of a class that inherits from `base`, which is `Room`, after checking them.

        Raises:
          TypeError, ValueError: the class has a mistake. The message names the member and the correct form.
        """
        _check_members(room, base)
        receives, sends = type_arguments(room, base)
        is_generic = unresolved(receives) or unresolved(sends)
        if is_generic and not getattr(room, "__parameters__", ()):
            raise TypeError(f"{room.__name__} does not say which events it has: {NO_EVENTS}")
        has_snapshot = room.snapshot is not base.snapshot
        kind = cls(
            class_name=room.__name__,
            receives=_vocabulary(None if is_generic else receives, room.rename),
            sends=_vocabulary(None if is_generic else sends, room.rename),
            facts=_vocabulary(room.facts),
            state_class=_state_class(room) if has_snapshot else None,
            has_snapshot=has_snapshot,
            persists_documents=room.persistent,
            persistent=has_snapshot or room.persistent,
            restarts=room.restarts,
            continues_without_broker=room.when_cut_off == "continue",
            documents=() if is_generic else document_kinds(room, room.rename),
            patch_seconds=room.patch_seconds,
            rename=room.rename,
            join_options=room.join_options,
            has_setup=room.setup is not base.setup,
            has_authorize=room.authorize is not base.authorize,
            has_player=room.player is not base.player,
            setup_seconds=room.setup_seconds,
            authorize_seconds=room.authorize_seconds,
            cleanup_seconds=room.cleanup_seconds,
            is_generic=is_generic,
        )
        if not is_generic:
            _check_pairs(room, base)
        return kind

    @property
    def mirrored(self) -> tuple[MirroredDocument, ...]:
        """The shared documents as clients know them."""
        return tuple(each.mirrored for each in self.documents)

    def check_complete(self) -> None:
        """Check that the class can make rooms.

        Raises:
          TypeError: the class is a generic base class.
        """
        if self.is_generic:
            raise TypeError(f"{self.class_name} is a generic base class and cannot make rooms: {NO_EVENTS}")

    def type_of_sent(self, event: Any) -> EventType:
        """Return the event type of an event that the room sends to players.

        Raises:
          TypeError: the room may not send this object.
        """
        kind = self.sends.by_class.get(type(event))
        if kind is None:
            if isinstance(event, type):
                raise TypeError(f"{event.__name__} is a class: send an instance of it, {event.__name__}(...)")
            raise TypeError(f"{type(event).__name__} is not one of the events that {self.class_name} sends to players")
        return kind

    def check_receives(self, *kinds: type[Any]) -> frozenset[type[Any]]:
        """Return these event classes as a set.

        Raises:
          TypeError: no class is given, or players may not send one of the classes.
        """
        if not kinds:
            heard = ", ".join(kind.cls.__name__ for kind in self.receives.by_name.values())
            raise TypeError(f"name at least one event class: {self.class_name} receives {heard or 'none'}")
        for kind in kinds:
            if is_union(kind):
                names = ", ".join(getattr(each, "__name__", str(each)) for each in typing.get_args(kind))
                raise TypeError(f"give the event classes separately: {names}")
            if kind not in self.receives:
                name = getattr(kind, "__name__", kind)
                raise TypeError(f"{name} is not one of the events that {self.class_name} receives from players")
        return frozenset(kinds)


def _check_members(room: type[Any], base: type[Any]) -> None:
    """Check how a class, and the classes between it and `base`, override the members of `base`."""
    reserved = public_members(base) - {*ASYNC, *SYNC, *SETTINGS}
    for each in room.__mro__[: room.__mro__.index(base)]:
        if each.__module__ == base.__module__:
            continue
        for name in reserved.intersection([*vars(each), *inspect.get_annotations(each)]):
            raise TypeError(f"{each.__name__}.{name} hides a member of edge.Room: call your attribute something else")
    for name in ASYNC:
        _check_function(room, name, wants_async=True)
    for name in SYNC:
        _check_function(room, name, wants_async=False)
    if not isinstance(room.restarts, Restarts):
        raise TypeError(f"{room.__name__}.restarts is {room.restarts!r:.60}: make it a Restarts(...)")
    if room.when_cut_off not in ("pause", "continue"):
        raise ValueError(f'{room.__name__}.when_cut_off is "pause" or "continue", not {room.when_cut_off!r}')
    check_rename(room.__name__, room.rename)
    if room.join_options is not None:
        check_options_class(room.join_options, f"{room.__name__}.join_options", room.rename)
    if type(room.persistent) is not bool:
        raise TypeError(f"{room.__name__}.persistent is {room.persistent!r:.60}: make it True or False")
    if type(room.patch_seconds) not in (int, float) or not 0 <= room.patch_seconds < math.inf:
        raise TypeError(f"{room.__name__}.patch_seconds is {room.patch_seconds!r:.60}: make it a number of seconds")
    for name in SECONDS:
        seconds = getattr(room, name)
        if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
            raise TypeError(f"{room.__name__}.{name} is {seconds!r:.60}: make it a number of seconds above 0")


def _check_pairs(room: type[Any], base: type[Any]) -> None:
    """Check that a class has both `snapshot` and `restore` or neither, and that it has `apply` if it has `facts`."""
    if (room.snapshot is base.snapshot) != (room.restore is base.restore):
        raise TypeError(f"{room.__name__} has only one of snapshot and restore: a persistent room needs both")
    if room.persistent and not document_kinds(room, room.rename):
        raise TypeError(
            f"{room.__name__} is persistent, but declares no shared documents: use edge.shared, or snapshot"
        )
    if room.persistent and room.facts is not None:
        text = "the documents are restored with all changes, so the facts would be applied to them again"
        raise TypeError(f"{room.__name__} has facts and is persistent: use one of the two, because {text}")
    if room.facts is not None and room.apply is base.apply:
        raise TypeError(f"{room.__name__} has facts but no apply: define apply, which changes the state by a fact")


def _check_function(room: type[Any], name: str, *, wants_async: bool) -> None:
    member = getattr(room, name)
    if not callable(member) or isinstance(member, type):
        raise TypeError(f"{room.__name__}.{name} is {member!r:.60}: edge.Room.{name} is a method, so define one")
    partial = getattr(member, "__partialmethod__", None) or getattr(member, "_partialmethod", None)
    outer = member if partial is None else partial.func
    functions = (outer, inspect.unwrap(outer))
    if any(inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each) for each in functions):
        raise TypeError(f"{room.__name__}.{name} has a yield: edge does not iterate over it, so remove the yield")
    is_async = any(map(inspect.iscoroutinefunction, functions))
    if wants_async and inspect.isfunction(functions[1]) and not is_async:
        raise TypeError(f"{room.__name__}.{name} is a plain def: edge awaits it, so make it an async def")
    if not wants_async and is_async:
        raise TypeError(f"{room.__name__}.{name} is async: edge calls it without await, so make it a plain def")
    if isinstance(inspect.getattr_static(room, name), FunctionType):
        _check_parameters(room, name, member)


def _check_parameters(room: type[Any], name: str, function: Any) -> None:
    given = ("self", *PARAMETERS[name])
    try:
        inspect.signature(function).bind(*given)
    except TypeError as exc:
        wanted = f"{name}({', '.join(given)})"
        raise TypeError(f"{room.__name__}.{name} is called as {wanted}, and does not accept this: {exc}") from None


def decided(what: str, result: object) -> Any:
    """Return the result of an author's synchronous method, after checking that it is not a coroutine.

    Args:
      what: the name of the method, for the error.

    Raises:
      TypeError: the result is a coroutine, because the author's method is async by mistake.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{what} has returned a coroutine: edge calls it without await, so make it a plain def")
    return result


def _state_class(room: type[Any]) -> type[Any] | None:
    returned = typing.get_type_hints(room.snapshot).get("return")
    if not (isinstance(returned, type) and attrs.has(returned)):
        return None
    check_type(returned)
    return returned


def _vocabulary(events: object, rename: Rename = "") -> Vocabulary:
    """Make a vocabulary, and check that its events can be encoded."""
    vocabulary = Vocabulary.of(events, rename)
    for kind in vocabulary.by_name.values():
        check_type(kind.cls, kind.rename)
        if kind.key:
            check_key(kind.cls, kind.key)
    return vocabulary
