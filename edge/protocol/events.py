"""Events: frozen attrs classes with a name and a delivery, and vocabularies of them."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, cast, dataclass_transform, overload

import attrs

Delivery = Literal["reliable", "latest", "volatile"]
ExtraFields = Literal["refuse", "ignore"]
C = TypeVar("C")

# A name never begins with a sign that the envelope uses (see messages.py), and is short enough for every log line.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")


@attrs.frozen
class EventType:
    """The name, delivery and fields of an event class."""

    cls: type[Any]
    """The frozen attrs class."""

    name: str
    """Its name on the wire."""

    delivery: Delivery
    """How it is delivered: see `event`."""

    key: str
    """For ``latest``: the field that tells one value from another; empty when there is only one."""

    ignores_extra: bool = False
    """True if a server ignores extra fields, too."""

    def key_of(self, event: object) -> tuple[str, object]:
        """The key of an event with delivery ``latest``: a later event with the same key replaces it."""
        return self.name, getattr(event, self.key) if self.key else None


@overload
def event(cls: type[C], /) -> type[C]: ...
@overload
def event(
    name: str = "", /, *, delivery: Delivery = "reliable", key: str = "", extra_fields: ExtraFields = "refuse"
) -> Callable[[type[C]], type[C]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def event(
    cls_or_name: type[C] | str = "",
    /,
    *,
    delivery: Delivery = "reliable",
    key: str = "",
    extra_fields: ExtraFields = "refuse",
) -> type[C] | Callable[[type[C]], type[C]]:
    """Make a class an event: a frozen attrs class that can travel.

    Use it bare (``@edge.event``: the name on the wire is the class's own) or with a name
    (``@edge.event("turn:done")``).

    Args:
      delivery: ``"reliable"``: ordered, counted, replayed on resume. ``"latest"``: only the newest of each `key` is
        kept for a connection that is behind; sent again on resume. ``"volatile"``: dropped when it can't be written
        at once, for cursors and previews.
      key: for ``"latest"``, the field by which values are told apart.
      extra_fields: what a server does with a field that the class does not have. ``"refuse"``: it refuses the event,
        and says so. ``"ignore"``: it ignores the field, so that newer clients can talk to older servers. Clients always
        ignore such fields, and report them once.

    Raises:
      TypeError: the name can't be used, or `key` is not a field or not wanted.
    """

    def make(cls: type[C]) -> type[C]:
        frozen: Any = attrs.frozen(cls)
        name = cls_or_name if isinstance(cls_or_name, str) and cls_or_name else cls.__name__
        if not NAME.fullmatch(name):
            raise TypeError(
                f"{name!r} can't be an event's name: letters, digits and _ . : - after a letter, 64 at most"
            )
        if key and (delivery != "latest" or key not in attrs.fields_dict(frozen)):
            raise TypeError(f"event {name}: key={key!r} must name a field, and goes with delivery='latest'")
        if delivery not in typing.get_args(Delivery):
            raise TypeError(f"event {name}: delivery is 'reliable', 'latest' or 'volatile', not {delivery!r}")
        if extra_fields not in typing.get_args(ExtraFields):
            raise TypeError(f"event {name}: extra_fields is 'refuse' or 'ignore', not {extra_fields!r}")
        frozen.__edge_event__ = EventType(frozen, name, delivery, key, extra_fields == "ignore")
        return cast("type[C]", frozen)

    return make(cls_or_name) if isinstance(cls_or_name, type) else make


def event_type(cls: type[Any]) -> EventType:
    """What `@edge.event` noted on this class.

    Raises:
      TypeError: the class is not an event.
    """
    found: EventType | None = getattr(cls, "__edge_event__", None)
    if found is None or found.cls is not cls:  # a class that inherits from an event is not one
        raise TypeError(f"{cls.__name__} is not an event: decorate it with @edge.event")
    return found


@attrs.frozen
class Vocabulary:
    """The events that may travel one way, by name: made from a union of event classes."""

    by_name: dict[str, EventType]
    by_class: dict[type[Any], EventType]

    @classmethod
    def of(cls, union: object) -> Vocabulary:
        """Read a union of event classes, or one class, or None for no events at all; or take what was read before.

        Raises:
          TypeError: a member is not an event, or two have one name.
        """
        if isinstance(union, Vocabulary):
            return union
        by_name: dict[str, EventType] = {}
        for member in _members(union):
            kind = event_type(member)
            if kind.name in by_name:
                raise TypeError(f"{member.__name__} and {by_name[kind.name].cls.__name__} are both named {kind.name!r}")
            by_name[kind.name] = kind
        return cls(by_name, {kind.cls: kind for kind in by_name.values()})

    def __contains__(self, cls: object) -> bool:
        return cls in self.by_class


def _members(union: object) -> Iterator[type[Any]]:
    union = getattr(union, "__value__", union)  # of a `type` statement, in Python 3.12 and later
    if typing.get_origin(union) in (typing.Union, types.UnionType):
        for member in typing.get_args(union):
            yield from _members(member)
    elif isinstance(union, type) and union is not type(None):
        yield union
    elif union is not None and union is not type(None):
        raise TypeError(f"{union!r} is not a union of event classes, nor None for no events")
