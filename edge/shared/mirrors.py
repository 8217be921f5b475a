"""The mirrors of a room's shared documents in a Python client."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import attrs

from ..errors import InvalidEvent
from ..protocol.field_kinds import Rename
from ..protocol.messages import Patch
from ..protocol.structure import structure
from .patches import UnfitPatch, apply_patch

S = TypeVar("S", covariant=True)


class Mirrorable(Generic[S]):
    """The declaration of a document that clients mirror as objects of the class `S`."""

    def __init__(self) -> None:
        self.name: str = ""
        """The attribute of the room, and of `Mirrors`."""
        self.declared_twice: bool = False
        """True if the declaration has got a second name."""

    def __set_name__(self, room: type[Any], name: str) -> None:
        self.declared_twice = bool(self.name)
        self.name = name


@attrs.frozen
class MirroredDocument:
    """A document that a client knows."""

    name: str
    """The attribute of `Mirrors`."""
    wire_name: str
    """The name on the wire."""
    cls: type[Any]
    """The class of the document."""


@attrs.define(eq=False)
class Mirror:
    """The mirror of one document."""

    kind: MirroredDocument
    version: int = -1
    """The version of `plain`; -1 before the first whole document."""
    plain: Any = None
    document: Any = None
    """The document, as an object of its class; None before the first whole document that fits."""
    fault: str = ""
    """The reason why the newest document does not fit its class; empty if it fits."""
    ignores_extra: bool = False
    """True if the room's document has had a field that the client's class does not have."""


class MirrorTable:
    """The mirrors of one client.

    Args:
      documents: the documents that the client knows. Others are ignored.
      rename: the names of fields on the wire: see `event`.
      on_unusable: called if a document does not fit its class, with the error and the name on the wire. The mirror then
        keeps the previous document.
      on_ignored: called for the first field that the client's class does not have, with an error about it and the name
        on the wire. The mirror ignores such fields.
    """

    def __init__(
        self,
        documents: Iterable[MirroredDocument],
        rename: Rename,
        on_unusable: Callable[[InvalidEvent, str], object],
        on_ignored: Callable[[InvalidEvent, str], object],
    ) -> None:
        self._rename = rename
        self._on_unusable = on_unusable
        self._on_ignored = on_ignored
        self._mirrors = {each.wire_name: Mirror(each) for each in documents}
        self._by_name = {mirror.kind.name: mirror for mirror in self._mirrors.values()}
        self._staged: dict[str, tuple[int, Any]] = {}
        """The versions and plain data of documents whose change is not complete."""
        self._awaited = False
        self.documents: Mirrors = Mirrors(self)
        """The documents, for the client's code."""

    @property
    def is_complete(self) -> bool:
        """True once the documents have arrived that the newest welcome has announced."""
        return not self._awaited

    def expect(self, names: Iterable[str]) -> None:
        """Wait for whole documents, if a welcome has announced any."""
        self._awaited = any(True for _ in names)
        self._staged.clear()

    def receive(self, message: Patch) -> bool:
        """Apply a patch, or take a whole document. The mirrors change together once no more patches follow.

        Returns: True if the mirrors have changed.

        Raises:
          UnfitPatch: the patch does not fit the mirror.
        """
        mirror = self._mirrors.get(message.name)
        if mirror is not None:
            before, plain = self._staged.get(message.name, (mirror.version, mirror.plain))
            match message.body:
                case [int(version), None, whole]:
                    self._staged[message.name] = version, whole
                case [int(version), patch]:
                    if version != before + 1 or before < 0:
                        raise UnfitPatch(f"version {version} does not follow {before}")
                    self._staged[message.name] = version, apply_patch(plain, patch)
                case _:
                    raise UnfitPatch("expected [version, patch] or [version, null, document]")
        if message.more:
            return False
        for name, (version, plain) in self._staged.items():
            mirror = self._mirrors[name]
            mirror.version, mirror.plain = version, plain
            self._read(mirror)
        self._staged.clear()
        self._awaited = False
        return True

    @property
    def names(self) -> list[str]:
        """The names on the wire of the documents that the client knows."""
        return [*self._mirrors]

    def mirror(self, wire_name: str) -> Mirror | None:
        """Return the mirror of a document; None if the client does not know the document."""
        return self._mirrors.get(wire_name)

    def find(self, name: str) -> Any:
        """Return the document of this name.

        Raises:
          AttributeError: the client does not know the document, or it has not arrived yet.
        """
        mirror = self._by_name.get(name)
        if mirror is None:
            known = ", ".join(self._by_name) or "none"
            raise AttributeError(f"this client knows no shared document {name!r}: it knows {known}")
        if mirror.document is None and mirror.fault:
            raise AttributeError(
                f"the shared document {name!r} does not fit {mirror.kind.cls.__name__}: {mirror.fault}"
            )
        if mirror.document is None:
            raise AttributeError(f"the shared document {name!r} has not arrived: wait until the client is open")
        return mirror.document

    def __repr__(self) -> str:
        return ", ".join(f"{name}={mirror.document!r}" for name, mirror in self._by_name.items())

    def _read(self, mirror: Mirror) -> None:
        try:
            mirror.document = self._structure(mirror)
            mirror.fault = ""
        except InvalidEvent as exc:
            mirror.fault = str(exc)
            self._on_unusable(exc, f"^{mirror.kind.wire_name}")

    def _structure(self, mirror: Mirror) -> Any:
        read = functools.partial(structure, mirror.plain, mirror.kind.cls, rename=self._rename)
        if mirror.ignores_extra:
            return read(ignore_extra=True)
        try:
            return read()
        except InvalidEvent as exc:
            document = read(ignore_extra=True)
            mirror.ignores_extra = True
            self._on_ignored(exc, f"^{mirror.kind.wire_name}")
            return document


class Mirrors:
    """A room's shared documents, as the newest patches left them: ``client.state.table``.

    Each patch makes new objects, so an object that you keep does not change. ``client.state[Poker.table]`` is the same
    document, with its type for a type checker.
    """

    def __init__(self, table: MirrorTable) -> None:
        self.__table = table

    def __getattr__(self, name: str) -> Any:
        return self.__table.find(name)

    def __repr__(self) -> str:
        return repr(self.__table)

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_Mirrors__"):
            raise AttributeError(f"a mirror cannot be changed: send the room an event, and it changes {name}")
        object.__setattr__(self, name, value)

    def __getitem__(self, declared: Mirrorable[S]) -> S:
        if not isinstance(declared, Mirrorable):
            raise TypeError(f"state[...] needs a document of a room class, such as Poker.table, not {declared!r:.64}")
        document: S = self.__table.find(declared.name)
        return document
