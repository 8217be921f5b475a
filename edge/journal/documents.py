"""Shared documents in the journal of a persistent room: their changes, and their recovery."""

from __future__ import annotations

from typing import Any

from ..protocol.structure import structure
from ..rooms.documents import DocumentKind
from ..rooms.room_runtime import RoomRuntime
from ..shared.patches import apply_patch

Changes = dict[str, list[Any]]
"""For each document that has changed, by the name of its attribute: ``[patch]``, or ``[None, document]``."""


class DocumentRecorder:
    """Records the changes of a room's shared documents since the previous entry of its journal."""

    def __init__(self, room: RoomRuntime) -> None:
        self._room = room
        self._shadows: dict[str, dict[str, Any]] = {}
        """The shadows of the recorded documents, by the id of their player's session; the key "" is for the room's."""

    def record(self, *, whole: bool) -> dict[str, Changes]:
        """Return the changes since the previous call, by the id of the player's session; "" has the room's documents.

        Args:
          whole: True to record all documents whole.

        Raises:
          TypeError, ValueError: see `Differ.diff`.
        """
        room, sharing = self._room, self._room.sharing
        if not room.kind.persists_documents or sharing is None:
            return {}
        before, self._shadows = {} if whole else self._shadows, {}
        owned = {player.session.id: player.documents for player in room.players}
        found: dict[str, Changes] = {}
        for owner, documents in [("", sharing.common), *owned.items()]:
            shadows = self._shadows[owner] = before.get(owner, {})
            changes = {}
            for kind in room.kind.documents:
                if kind.name in documents and (change := _change(kind, documents[kind.name], shadows)):
                    changes[kind.name] = change
            if changes:
                found[owner] = changes
        return found

    def forget(self, owner: str) -> None:
        """Record the documents of this owner whole next time, because a player with this session has left."""
        self._shadows.pop(owner, None)


def _change(kind: DocumentKind, document: Any, shadows: dict[str, Any]) -> list[Any]:
    """Return the change of a document since the previous call; an empty list if there is none."""
    if kind.name not in shadows:
        shadow = shadows[kind.name] = kind.recorder.shadow(document)
        return [None, kind.recorder.plain(shadow)]
    patch = kind.recorder.diff(document, shadows[kind.name])
    return [] if patch is None else [patch]


def combine(documents: dict[str, dict[str, Any]], changes: dict[str, Changes]) -> None:
    """Apply the changes of an entry to the documents of the earlier entries."""
    for owner, changed in changes.items():
        known = documents.setdefault(owner, {})
        for name, change in changed.items():
            known[name] = change[1] if len(change) == 2 else apply_patch(known[name], change[0])


def restore_documents(room: RoomRuntime, documents: dict[str, dict[str, Any]]) -> None:
    """Give a room and its restored players their documents. Documents that the room does not declare are dropped.

    Raises:
      InvalidEvent: a document does not fit its class.
    """
    if room.sharing is None:
        return
    owners = {"": room.sharing.common, **{player.session.id: player.documents for player in room.players}}
    for owner, saved in documents.items():
        for kind in room.kind.documents:
            if kind.name in saved and owner in owners and kind.each == (owner != ""):
                owners[owner][kind.name] = structure(saved[kind.name], kind.cls)
