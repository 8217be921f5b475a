"""Events: frozen attrs classes with a name and a delivery. A vocabulary is a set of event classes."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, cast, dataclass_transform, overload

import attrs

from .field_kinds import Rename

Delivery = Literal["reliable", "latest", "volatile"]
ExtraFields = Literal["refuse", "ignore"]
C = TypeVar("C")

# A name never begins with a sign of the envelope (see messages.py), and is short enough for a log line.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")


@attrs.frozen
class EventType:
    """The name, delivery and fields of an event class."""

    cls: type[Any]
    """The frozen attrs class."""

    name: str
    """The name of the event on the wire."""

    delivery: Delivery
    """The delivery of the events of this class."""

    key: str
    """For ``latest`` events: the field whose value is the key; empty if all events of the class share one key."""

    ignores_extra: bool = False
    """True if a server ignores extra fields, as clients always do."""

    rename: Rename = ""
    """The names of fields on the wire: see `event`. A vocabulary may set it: see `Vocabulary.of`."""

    sign: str = attrs.field(init=False, repr=False)
    """The first item of a frame with the event: the name, after a ``~`` if the event is not counted."""

    @sign.default
    def _find_sign(self) -> str:
        return self.name if self.delivery == "reliable" else f"~{self.name}"

    def key_of(self, event: object) -> tuple[str, object]:
        """Return the key of a ``latest`` event. A later event with the same key replaces the event."""
        return self.name, getattr(event, self.key) if self.key else None


@overload
def event(cls: type[C], /) -> type[C]: ...
@overload
def event(
    name: str = "",
    /,
    *,
    delivery: Delivery = "reliable",
    key: str = "",
    extra_fields: ExtraFields = "refuse",
    rename: Rename = "",
) -> Callable[[type[C]], type[C]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def event(
    cls_or_name: type[C] | str = "",
    /,
    *,
    delivery: Delivery = "reliable",
    key: str = "",
    extra_fields: ExtraFields = "refuse",
    rename: Rename = "",
) -> type[C] | Callable[[type[C]], type[C]]:
    """Make a class an event class: a frozen attrs class whose instances can be sent.

    ``@edge.event`` uses the name of the class on the wire. ``@edge.event("turn:done")`` uses the given name.

    Args:
      delivery: ``"reliable"``: each event arrives once and in order, also after a resume. ``"latest"``: only the newest
        event of each `key` is stored for a slow connection, and sent again after a resume. ``"volatile"``: an event
        that can't be written at once is dropped, which suits cursors and previews.
      key: for ``"latest"``: the field whose value is the key. Without `key`, all events of the class share one key.
      extra_fields: a server's reaction to a field that the class does not have. ``"refuse"``: the server refuses the
        event, and the client gets an error. ``"ignore"``: the server ignores the field, so that newer clients can use
        older servers. Clients always ignore such fields, and report this once for each event class.

      rename: ``"camel"`` sends the fields of the event, and of the objects in it, under names in camel case: a field
        ``drawn_by`` is ``drawnBy`` on the wire.

    Raises:
      TypeError: the name is invalid, `key` is not a field or is used without ``"latest"``, or another argument has an
        unknown value.
    """

    def make(cls: type[C]) -> type[C]:
        frozen: Any = attrs.frozen(cls)
        name = cls_or_name if isinstance(cls_or_name, str) and cls_or_name else cls.__name__
        if not NAME.fullmatch(name):
            text = "begin with a letter from A to Z, and use at most 64 such letters, digits and the characters _.:-"
            raise TypeError(f"{name!r} can't be an event's name: {text}")
        if key and (delivery != "latest" or key not in attrs.fields_dict(frozen)):
            raise TypeError(f"event {name}: key={key!r} must name a field, and needs delivery='latest'")
        if delivery not in typing.get_args(Delivery):
            raise TypeError(f"event {name}: delivery must be 'reliable', 'latest' or 'volatile', not {delivery!r}")
        if extra_fields not in typing.get_args(ExtraFields):
            raise TypeError(f"event {name}: extra_fields must be 'refuse' or 'ignore', not {extra_fields!r}")
        check_rename(f"event {name}", rename)
        frozen.__edge_event__ = EventType(frozen, name, delivery, key, extra_fields == "ignore", rename)
        return cast("type[C]", frozen)

    return make(cls_or_name) if isinstance(cls_or_name, type) else make


def check_rename(where: str, rename: object) -> None:
    """Check a value of `rename`.

    Args:
      where: the place where the value is given, for the error.

    Raises:
      TypeError: the value is unknown.
    """
    if rename not in typing.get_args(Rename):
        raise TypeError(f"{where}: rename must be 'camel' or empty, not {rename!r:.60}")


def event_type(cls: type[Any]) -> EventType:
    """Return the `EventType` of a class that `event` has decorated.

    Raises:
      TypeError: the class is not an event.
    """
    found: EventType | None = getattr(cls, "__edge_event__", None)
    if found is None or found.cls is not cls:  # a subclass of an event is not an event itself
        raise TypeError(f"{cls.__name__} is not an event: decorate it with @edge.event")
    return found


@attrs.frozen
class Vocabulary:
    """The event classes that one side may send, by name and by class."""

    by_name: dict[str, EventType]
    by_class: dict[type[Any], EventType]
    rename: Rename = ""
    """The names of fields on the wire, for the events that have no `EventType.rename` of their own."""
    loose: frozenset[str] = attrs.field(init=False, repr=False)
    """The names of the events whose extra fields a server ignores."""

    @loose.default
    def _find_loose(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.by_name.items() if kind.ignores_extra)

    @classmethod
    def of(cls, union: object, rename: Rename = "") -> Vocabulary:
        """Make a vocabulary of a union of event classes, of one class, or of None for no events.

        A `Vocabulary` is returned unchanged.

        Raises:
          TypeError: a member is not an event, two members have the same name, or `rename` has an unknown value.
        """
        if isinstance(union, Vocabulary):
            return union
        check_rename("the vocabulary", rename)
        by_name: dict[str, EventType] = {}
        for member in _members(union):
            kind = event_type(member)
            if kind.name in by_name:
                raise TypeError(f"{member.__name__} and {by_name[kind.name].cls.__name__} are both named {kind.name!r}")
            by_name[kind.name] = attrs.evolve(kind, rename=kind.rename or rename)
        return cls(by_name, {kind.cls: kind for kind in by_name.values()}, rename)

    def __contains__(self, cls: object) -> bool:
        return cls in self.by_class


def _members(union: object) -> Iterator[type[Any]]:
    union = getattr(union, "__value__", union)  # the value of a `type` statement, in Python 3.12 and later
    if typing.get_origin(union) in (typing.Union, types.UnionType):
        for member in typing.get_args(union):
            yield from _members(member)
    elif isinstance(union, type) and union is not type(None):
        yield union
    elif union is not None and union is not type(None):
        raise TypeError(f"{union!r} is not a union of event classes: use a union, one event class, or None")
