"""The run time of a room's shared documents: when they are compared, and who gets the patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from ..aio.steps import note_steps
from ..aio.wakeup import WakeUp
from ..protocol.outgoing import Outgoing, outgoing_patch
from ..shared.differ import Differ
from .documents import DocumentKind, own_document
from .ledger import Member


@attrs.define(eq=False)
class _Copy:
    """What some clients have of a document: all clients, or the client of one player."""

    name: str
    differ: Differ
    shadow: Any
    version: int = 0
    """The number of patches. Clients use it to notice a patch that does not fit."""
    _whole: Outgoing | None = None

    def update(self, document: Any) -> Outgoing | None:
        """Return the message with the changes of the document since the last call; None if there are none.

        Raises:
          TypeError, ValueError: see `Differ.diff`.
        """
        patch = self.differ.diff(document, self.shadow)
        if patch is None:
            return None
        self.version += 1
        self._whole = None
        return outgoing_patch(self.name, [self.version, patch], self.whole)

    def whole(self) -> Outgoing:
        """Return the message with the whole document, as the clients have it."""
        if self._whole is None:
            self._whole = outgoing_patch(self.name, [self.version, None, self.differ.plain(self.shadow)], self.whole)
        return self._whole


class Sharing:
    """The shared documents of one room.

    Args:
      kinds: the declarations of the documents.
      patch_seconds: see `Room.patch_seconds`.
      on_fault: called once with the error, if a document cannot be sent or a view raises an error.
    """

    def __init__(
        self, kinds: tuple[DocumentKind, ...], patch_seconds: float, on_fault: Callable[[Exception], object]
    ) -> None:
        self._kinds = kinds
        self._patch_seconds = patch_seconds
        self._on_fault = on_fault
        self.common: dict[str, Any] = {}
        """The documents that all clients mirror, by the name of their attribute."""
        for kind in kinds:
            if not kind.each:
                self.common[kind.name] = kind.cls()
        self._copies: dict[str, _Copy] = {}
        """What all clients have of each document without a view."""
        self._receivers: dict[Member, dict[str, _Copy]] = {}
        """The members with a connection, and what only they have: of documents with a view, and of their own."""
        self._entering: dict[Member, None] = {}
        """The members with a new connection, which has got no documents yet."""
        self.on_step: Callable[[], object] | None = None
        """Called after each step of the room's code, for a journal; None if there is none."""
        self._versions = 0
        self.held: int = 0
        """The number of open `hold` blocks."""
        self._due = False
        self._wake_up = WakeUp()
        self._comparing = False
        self._failed = False

    def attach(self, member: Member) -> None:
        """Let a member with a new connection get all documents, whole, at the next `flush`, and patches afterwards."""
        self._receivers.pop(member, None)
        self._entering[member] = None

    def note_event(self) -> None:
        """Send what has changed before the room sends an event, unless patches have a pace of their own."""
        if not self._patch_seconds or self._entering:
            self.flush()

    def flush(self) -> None:
        """Send each member with a connection what has changed since the last call."""
        self._due = False
        if self._comparing or self._failed or not (self._receivers or self._entering):
            return
        self._comparing = True
        try:
            if not self.held:
                self._update()
            if self._entering:
                entering, self._entering = self._entering, {}
                for member in entering:
                    self._send_whole(member)
        except Exception as exc:
            self._failed = True
            self._receivers.clear()
            self._copies.clear()
            self._on_fault(exc)
        finally:
            self._comparing = False

    def _send_whole(self, member: Member) -> None:
        """Send a member all documents, as the others have them."""
        own: dict[str, _Copy] = {}
        for kind in self._kinds:
            copies = self._copies if self._is_common(kind) else own
            if kind.name not in copies:
                self._versions += 1  # so that no patch of an earlier copy fits this one
                shadow = kind.differ.shadow(self.shown(kind, member))
                copies[kind.name] = _Copy(kind.mirrored.wire_name, kind.differ, shadow, self._versions)
            member.seat.send(copies[kind.name].whole())
        self._receivers[member] = own

    def _update(self) -> None:
        if not all(member.connected for member in self._receivers):
            self._receivers = {member: own for member, own in self._receivers.items() if member.connected}
        if not self._receivers:
            self._copies.clear()
            return
        for kind in self._kinds:
            if self._is_common(kind):
                message = self._copies[kind.name].update(self.common[kind.name])
                if message is not None:
                    for member in self._receivers:
                        member.seat.send(message)
                continue
            for member, own in self._receivers.items():
                message = own[kind.name].update(self.shown(kind, member))
                if message is not None:
                    member.seat.send(message)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Send no patches while a block runs, and send all changes at its end."""
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            self.flush()

    def note_step(self) -> None:
        """Compare the documents soon, because code of the room has run."""
        if not self._due and (self._receivers or self._entering or self.on_step is not None):
            self._due = True
            self._wake_up.wake()

    async def run(self) -> None:
        """Compare the documents after each step of the room's code. Steps that run together are one.

        *Cancellation*: documents are then only compared by `flush`.
        """
        note_steps(None)
        while True:
            if not self._due:
                await self._wake_up.wait()
            self.flush()
            if self.on_step is not None:
                self.on_step()
            if self._patch_seconds:
                await trio.sleep(self._patch_seconds)

    def _is_common(self, kind: DocumentKind) -> bool:
        return not kind.each and kind.view is None

    def shown(self, kind: DocumentKind, member: Member) -> Any:
        """Return what a member may see of a document."""
        if kind.each:
            return own_document(member, kind.name, kind.cls)
        document = self.common[kind.name]
        return document if kind.view is None else kind.view(document, member.facade)
