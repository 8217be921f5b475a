"""The mirrors of a room's shared documents in a Python client."""

from __future__ import annotations

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

    name: str
    """The attribute of the room, and of `Mirrors`."""


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
    """The document, as an object of its class; None before the first whole document."""


class MirrorTable:
    """The mirrors of one client.

    Args:
      documents: the documents that the client knows. Others are ignored.
      rename: the names of fields on the wire: see `event`.
      on_unusable: called if a document does not fit its class, with the error and the name on the wire. The mirror then
        keeps the previous document.
    """

    def __init__(
        self,
        documents: Iterable[MirroredDocument],
        rename: Rename,
        on_unusable: Callable[[InvalidEvent, str], object],
    ) -> None:
        self._rename = rename
        self._on_unusable = on_unusable
        self._mirrors = {each.wire_name: Mirror(each) for each in documents}
        self._by_name = {mirror.kind.name: mirror for mirror in self._mirrors.values()}
        self._awaited: set[str] = set()
        self.documents: Mirrors = Mirrors(self)
        """The documents, for the client's code."""

    @property
    def is_complete(self) -> bool:
        """True once all documents have arrived that the newest welcome has announced."""
        return not self._awaited

    def expect(self, names: Iterable[str]) -> None:
        """Wait for whole documents with these names, because a welcome has announced them."""
        self._awaited = set(names)

    def receive(self, update: Patch) -> None:
        """Apply a patch, or take a whole document. Either the mirror changes completely, or not at all.

        Raises:
          UnfitPatch: the patch does not fit the mirror.
        """
        mirror = self._mirrors.get(update.name)
        match update.body:
            case [int(version), None, plain]:
                self._awaited.discard(update.name)
            case [int(version), patch]:
                if mirror is None:
                    return
                if version != mirror.version + 1 or mirror.version < 0:
                    raise UnfitPatch(f"version {version} of {update.name[:64]!r} does not follow {mirror.version}")
                plain = apply_patch(mirror.plain, patch)
            case _:
                raise UnfitPatch("expected [version, patch] or [version, null, document]")
        if mirror is not None:
            mirror.version, mirror.plain = version, plain
            self._read(mirror)

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
        if mirror.document is None:
            raise AttributeError(f"the shared document {name!r} has not arrived: wait until the client is open")
        return mirror.document

    def _read(self, mirror: Mirror) -> None:
        try:
            mirror.document = structure(mirror.plain, mirror.kind.cls, ignore_extra=True, rename=self._rename)
        except InvalidEvent as exc:
            self._on_unusable(exc, f"^{mirror.kind.wire_name}")


class Mirrors:
    """A room's shared documents, as the newest patches left them: ``client.state.table``.

    Each patch makes new objects, so an object that you keep does not change. ``client.state[Poker.table]`` is the same
    document, with its type for a type checker.
    """

    def __init__(self, table: MirrorTable) -> None:
        self.__table = table

    def __getattr__(self, name: str) -> Any:
        return self.__table.find(name)

    def __getitem__(self, declared: Mirrorable[S]) -> S:
        document: S = self.__table.find(declared.name)
        return document
