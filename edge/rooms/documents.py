"""Declarations of shared documents: the attributes of a room class that `shared` makes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

import attrs

from ..protocol.events import NAME
from ..protocol.field_kinds import Rename, camel_case, fields_of
from ..protocol.field_types import check_type
from ..shared.differ import Differ
from ..shared.mirrors import Mirrorable, MirroredDocument
from .ledger import Member

D = TypeVar("D")
S = TypeVar("S")

View = Callable[[Any, Any], Any]


class _Documents(Protocol):
    """The documents of one room."""

    common: dict[str, Any]


class SharedDocument(Mirrorable[S], Generic[D, S]):
    """A document of the class `D` that all clients of a room mirror, as `S`: the result of `shared`.

    On a room, the attribute is the document itself. Assign another object of the class to replace the document.
    """

    def __init__(self, cls: type[D], view: Callable[[D, Any], S] | None) -> None:
        super().__init__()
        self.cls: type[D] = cls
        self.view: Callable[[D, Any], S] | None = view

    @overload
    def __get__(self, room: None, cls: type[Any]) -> SharedDocument[D, S]: ...
    @overload
    def __get__(self, room: object, cls: type[Any]) -> D: ...
    def __get__(self, room: object | None, cls: type[Any]) -> SharedDocument[D, S] | D:
        if room is None:
            return self
        document: D = documents_of(room, self.name).common[self.name]
        return document

    def __set__(self, room: object, document: D) -> None:
        if type(document) is not self.cls:
            raise TypeError(f"{type(room).__name__}.{self.name} is a {self.cls.__name__}, not {document!r:.64}")
        documents_of(room, self.name).common[self.name] = document


class SharedDocuments(Mirrorable[D]):
    """Documents of a class, one for each player, who alone mirrors it: the result of `shared` with ``each=True``."""

    def __init__(self, cls: type[D]) -> None:
        super().__init__()
        self.cls: type[D] = cls

    @overload
    def __get__(self, room: None, cls: type[Any]) -> SharedDocuments[D]: ...
    @overload
    def __get__(self, room: object, cls: type[Any]) -> PerPlayer[D]: ...
    def __get__(self, room: Any, cls: type[Any]) -> SharedDocuments[D] | PerPlayer[D]:
        return self if room is None else PerPlayer(self, room)

    def __set__(self, room: object, document: object) -> None:
        raise AttributeError(f"{self.name} has a document for each player: set {self.name}[player]")


class PerPlayer(Mapping[Any, D]):
    """The documents of the players of a room: ``self.hand[player].cards``. Each player has one from the beginning."""

    def __init__(self, declared: SharedDocuments[D], room: Any) -> None:
        self._declared = declared
        self._room = room

    if not TYPE_CHECKING:  # so that type checkers know that there are no other attributes

        def __getattr__(self, name: str) -> Any:
            declared = self._declared.name
            raise AttributeError(f"{declared} has a document for each player: write {declared}[player].{name}")

        def __setattr__(self, name: str, value: object) -> None:
            if name not in ("_declared", "_room"):
                self.__getattr__(name)
            object.__setattr__(self, name, value)

    def __getitem__(self, player: Any) -> D:
        document: D = own_document(self._member(player), self._declared.name, self._declared.cls)
        return document

    def __setitem__(self, player: Any, document: D) -> None:
        if type(document) is not self._declared.cls:
            raise TypeError(f"{self._declared.name}[player] is a {self._declared.cls.__name__}, not {document!r:.64}")
        self._member(player).documents[self._declared.name] = document

    def _member(self, player: Any) -> Member:
        member: Member | None = getattr(player, "_Player__edge_runtime", None)
        if member is None:
            raise TypeError(f"{self._declared.name}[...] needs a Player, not {player!r:.64}")
        if member.room is not self._room._Room__edge_runtime:  # type: ignore[attr-defined]  # of each player's run time
            raise KeyError(f"{player!r} belongs to another room")
        return member

    def __iter__(self) -> Iterator[Any]:
        return iter(self._room.players)

    def __len__(self) -> int:
        return len(self._room.players)


Declared = SharedDocument[Any, Any] | SharedDocuments[Any]


@attrs.frozen(eq=False)
class DocumentKind:
    """The declaration of one document of a room class."""

    name: str
    """The attribute of the room."""
    cls: type[Any]
    """The class of the document."""
    each: bool
    """True if each player has a document, which only this player's client gets."""
    view: View | None
    """Returns what a player may see; None if all players see the document itself."""
    mirrored: MirroredDocument
    """The document as clients know it. With a view, its class is the class that the view returns."""
    differ: Differ
    recorder: Differ
    """Compares the document itself, for the journal."""


@overload
def shared(cls: type[D], /) -> SharedDocument[D, D]: ...
@overload
def shared(cls: type[D], /, *, view: Callable[[D, Any], S]) -> SharedDocument[D, S]: ...
@overload
def shared(cls: type[D], /, *, each: Literal[True]) -> SharedDocuments[D]: ...
def shared(cls: type[Any], /, *, each: bool = False, view: View | None = None) -> Declared:
    """Declare a document that clients mirror: ``table = edge.shared(Table)`` in the body of a room class.

    The room's code changes the document like any object. Clients get each change as a patch, in the order of the room's
    events: before an event that the room sends later, and at the latest at the next checkpoint of the room's code.

    Args:
      cls: a plain attrs class, whose fields have types that events may have, and defaults.
      each: one document for each player, which only this player's client gets: ``self.hand[player]``.
      view: a function that is called with the document and a player, and returns what this player may see: an object of
        the class in the function's return annotation. It is called for each player and comparison, so keep it fast.

    Raises:
      TypeError: `cls` is not an attrs class, `view` has no return annotation, or both `each` and `view` are given.
    """
    if not is_attrs_class(cls):
        raise TypeError(f"shared({cls!r:.60}): give an attrs class, such as one with @attrs.define")
    if each and view is not None:
        raise TypeError(f"shared({cls.__name__}): with each=True, only its player sees a document, so it needs no view")
    return SharedDocuments(cls) if each else SharedDocument(cls, view)


def is_attrs_class(cls: object) -> bool:
    """Return whether this is an attrs class."""
    return isinstance(cls, type) and attrs.has(cls)


def document_kinds(room: type[Any], rename: Rename) -> tuple[DocumentKind, ...]:
    """Return the declarations of a room class and its base classes, in the order of their definition.

    Raises:
      TypeError: a document cannot be sent, or cannot be made without arguments.
    """
    found: dict[str, Declared] = {}
    for cls in reversed(room.__mro__):
        for name, member in vars(cls).items():
            found.pop(name, None)
            if isinstance(member, SharedDocument | SharedDocuments):
                found[name] = member
    return tuple(_document_kind(room, name, declared, rename) for name, declared in found.items())


def _document_kind(room: type[Any], name: str, declared: Declared, rename: Rename) -> DocumentKind:
    where = f"{room.__name__}.{name}"
    if declared.declared_twice:
        raise TypeError(f"{where}: this result of edge.shared has another name already: call edge.shared again")
    check_type(declared.cls, rename)
    required = [f"{declared.cls.__name__}.{each.name}" for each in fields_of(declared.cls) if each.required]
    if required:
        raise TypeError(f"{where}: edge makes the document without arguments, so give {required[0]} a default")
    hidden = [f"{declared.cls.__name__}.{each.name}" for each in fields_of(declared.cls) if not each.init]
    if hidden:
        raise TypeError(f"{where}: clients would not mirror {hidden[0]}, which is not an argument of its class")
    view = declared.view if isinstance(declared, SharedDocument) else None
    sent = declared.cls if view is None else _seen_class(where, view)
    (mirrored,) = mirrored_documents({name: sent}, rename)
    each = isinstance(declared, SharedDocuments)
    recorder = Differ(declared.cls, "")
    try:
        recorder.shadow(declared.cls())
    except (TypeError, ValueError) as exc:
        raise TypeError(f"{where}: the defaults do not fit: {exc}") from exc
    return DocumentKind(name, declared.cls, each, view, mirrored, Differ(sent, rename), recorder)


def mirrored_documents(documents: Mapping[str, type[Any]], rename: Rename) -> tuple[MirroredDocument, ...]:
    """Return the documents that a client knows.

    Args:
      documents: the classes of the documents, by the names of the room's attributes.

    Raises:
      TypeError: a document cannot be sent, or clients cannot use its name.
    """
    for name, cls in documents.items():
        if not is_attrs_class(cls):
            raise TypeError(f"the shared document {name!r} is {cls!r:.60}: give its attrs class")
        if not NAME.fullmatch(name):
            raise TypeError(f"the shared document {name!r}: begin the name with a letter, because clients use the name")
        check_type(cls, rename)
    names = {name: camel_case(name) if rename == "camel" else name for name in documents}
    return tuple(MirroredDocument(name, names[name], cls) for name, cls in documents.items())


def _seen_class(where: str, view: View) -> type[Any]:
    if inspect.iscoroutinefunction(view):
        raise TypeError(f"{where}: the view is async: edge calls it without await, so make it a plain def")
    try:
        inspect.signature(view).bind("document", "player")
    except TypeError as exc:
        raise TypeError(
            f"{where}: the view is called with the document and a player, and does not fit: {exc}"
        ) from None
    try:
        returned = typing.get_type_hints(view).get("return")
    except NameError as exc:
        raise TypeError(f"{where}: the annotation of the view cannot be resolved: {exc}") from None
    if not (isinstance(returned, type) and attrs.has(returned)):
        raise TypeError(f"{where}: annotate the view with the attrs class that it returns")
    return returned


def own_document(member: Member, name: str, cls: type[Any]) -> Any:
    """Return the document of a player. Make it with the defaults of its class if there is none."""
    document = member.documents.get(name)
    if document is None:
        document = member.documents[name] = cls()
    return document


def documents_of(room: Any, name: str) -> _Documents:
    """Return the documents of a room.

    Raises:
      AttributeError: the room class has no document of this name.
    """
    documents: _Documents | None = room._Room__edge_runtime.sharing
    if documents is None or name not in documents.common:
        raise AttributeError(f"declare {name or 'shared documents'} in the body of the class {type(room).__name__}")
    return documents
