"""The run time of a room's shared documents: when they are compared, and who gets the patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from ..aio.steps import note_steps
from ..aio.wakeup import WakeUp
from ..protocol.codec import JSON
from ..protocol.outgoing import Outgoing, outgoing_patch
from ..shared.differ import Differ
from .documents import DocumentKind, own_document
from .ledger import Member
from .statistics import MAX_TEXT, DocumentStatistics

# Only messages of more than this many bytes are checked against `Limits.sent_bytes`, which is never smaller.
LARGE_BYTES = 64 * 1024


@attrs.define(eq=False)
class _Copy:
    """The content of a document that clients have: all clients, or the client of one player."""

    name: str
    differ: Differ
    shadow: Any
    version: int = 0
    """The number of patches. Clients use it to notice a patch that does not fit."""
    _whole: dict[bool, Outgoing] = attrs.field(factory=dict)

    def update(self, document: Any) -> list[Any] | None:
        """Return the body of a message with the changes of the document since the last call; None if there are none.

        Raises:
          TypeError, ValueError: see `Differ.diff`.
        """
        patch = self.differ.diff(document, self.shadow)
        if patch is None:
            return None
        self.version += 1
        self._whole = {}
        return [self.version, patch]

    def whole(self, more: bool) -> Outgoing:
        """Return the message with the whole document, as the clients have it. See `Patch.more`."""
        if more not in self._whole:
            body = [self.version, None, self.differ.plain(self.shadow)]
            self._whole[more] = outgoing_patch(self.name, body, self.whole, more=more)
        return self._whole[more]

    def message(self, body: list[Any], *, more: bool) -> Outgoing:
        """Return the message with this body."""
        return outgoing_patch(self.name, body, self.whole, more=more)


class Sharing:
    """The shared documents of one room.

    Args:
      kinds: the declarations of the documents.
      patch_seconds: see `Room.patch_seconds`.
      on_fault: called once with the error and the name of the document, if a document cannot be sent or its view raises
        an error.
      on_sent: called with the number of messages of each comparison.
    """

    def __init__(
        self,
        kinds: tuple[DocumentKind, ...],
        patch_seconds: float,
        on_fault: Callable[[Exception, str], object],
        on_sent: Callable[[int], object],
    ) -> None:
        self._kinds = kinds
        self._patch_seconds = patch_seconds
        self._on_fault = on_fault
        self._on_sent = on_sent
        self.common: dict[str, Any] = {}
        """The documents that all clients mirror, by the name of their attribute."""
        for kind in kinds:
            if not kind.each:
                self.common[kind.name] = kind.cls()
        self._copies: dict[str, _Copy] = {}
        """The content that all clients have, of each document without a view."""
        self._receivers: dict[Member, dict[str, _Copy]] = {}
        """The members with a connection, and the content that only they have: their views and their own documents."""
        self._entering: dict[Member, None] = {}
        """The members with a new connection, which has got no documents yet."""
        self.note_changed: Callable[[], object] | None = None
        """Called if documents may have changed, so that a journal writes an entry. None if no journal has them.

        Clients then get a change only after an entry with it was written, because another server restores the documents
        of the newest entry: see `draft` and `deliver`.
        """
        self._undrafted: list[tuple[Member, Outgoing]] = []
        """The messages that the next entry must precede."""
        self._drafted: list[tuple[Member, Outgoing]] = []
        """The messages that the entry being written must precede."""
        self._versions = 0
        self.held: int = 0
        """The number of open `hold` blocks."""
        self._due = False
        self._wake_up = WakeUp()
        self._comparing = False
        self._compared = ""
        """The name of the document that is being compared, for the log."""
        self._failed = False

    @property
    def is_ahead(self) -> bool:
        """True if the copies of the documents have changes that the journal may not have."""
        return bool(self._undrafted or self._drafted)

    def attach(self, member: Member, *, at_once: bool) -> list[Outgoing]:
        """Register a member's new connection: it gets every document whole, and patches afterwards.

        If a journal has the documents, the connection must send nothing before the next entry is written.

        Args:
          at_once: True to get the documents before all other messages; False to get them at the next `flush`, or before
            the first event.

        Returns: the documents that the member must get directly after its welcome.
        """
        self._receivers.pop(member, None)
        self._entering[member] = None
        if not (at_once or self.note_changed):
            return []
        self._undrafted = [entry for entry in self._undrafted if entry[0] is not member]
        self._drafted = [entry for entry in self._drafted if entry[0] is not member]
        own = []
        for other, message in self.take_changes():
            if other is member:
                own.append(message)
            else:
                self._send(other, message)
        return own

    def _send(self, member: Member, message: Outgoing) -> None:
        if self.note_changed is None:
            member.seat.send(message)
        else:
            self._undrafted.append((member, message))

    def draft(self) -> None:
        """Compare the documents for an entry of the journal, which is made in the same step."""
        self._drafted += [*self._undrafted, *self.take_changes()]
        self._undrafted = []

    def deliver(self) -> None:
        """Send what the entry that is written now has."""
        drafted, self._drafted = self._drafted, []
        for member, message in drafted:
            member.seat.send_written(message)
        if not self._undrafted:
            for member in self._receivers:
                member.seat.wake_documents()

    def note_event(self) -> None:
        """Send what has changed before the room sends an event, unless patches have a pace of their own.

        Raises:
          RuntimeError: a view sends an event.
        """
        if self._comparing:
            raise RuntimeError("a view must not send events: it is called to compare a document")
        if self.note_changed is None and (not self._patch_seconds or self._entering):
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Send each member with a connection what has changed since the last call, as soon as the journal has it.

        Args:
          last: True before a member leaves, because a later comparison would leave it out.
        """
        if self.note_changed is None or last:
            for member, message in self.take_changes():
                self._send(member, message)
        if self.note_changed is not None:
            self.note_changed()

    def take_changes(self) -> list[tuple[Member, Outgoing]]:
        """Return the messages that `flush` sends. No other message may be sent to these members before them."""
        self._due = False
        if self.held or self._comparing or self._failed or not (self._receivers or self._entering):
            return []
        self._comparing = True
        try:
            return self._compare()
        except Exception as exc:
            self._failed = True
            self._receivers.clear()
            self._copies.clear()
            self._on_fault(exc, self._compared)
            return []
        finally:
            self._comparing = False

    def _compare(self) -> list[tuple[Member, Outgoing]]:
        """Compare all documents. Return the messages with their changes, and whole documents for new connections.

        The messages for one member belong together: all except the last have `Patch.more`. Therefore the patches that
        all members get, in the same frames, come last.
        """
        if not all(member.connected for member in self._receivers):
            self._receivers = {member: own for member, own in self._receivers.items() if member.connected}
        if not (self._receivers or self._entering):
            self._copies.clear()
            return []
        common = self._changes(self._copies, None)
        last = len(common) - 1
        for_all = [copy.message(body, more=place < last) for place, (copy, body) in enumerate(common)]
        messages: list[tuple[Member, Outgoing]] = []
        for member, own in self._receivers.items():
            changes = self._changes(own, member)
            last = len(changes) - 1
            for place, (copy, body) in enumerate(changes):
                messages.append((member, copy.message(body, more=bool(for_all) or place < last)))
            messages += [(member, message) for message in for_all]
        for member in self._entering:
            own = self._receivers[member] = {}
            copies = [self._copy(kind, member, own) for kind in self._kinds]
            messages += [(member, copy.whole(copy is not copies[-1])) for copy in copies]
        self._entering.clear()
        self._on_sent(len(messages))
        for member, message in messages:
            if message.size > LARGE_BYTES:
                self._compared = message.name[1:]
                member.seat.check_size(message)
        return messages

    def _changes(self, copies: dict[str, _Copy], member: Member | None) -> list[tuple[_Copy, list[Any]]]:
        """Return the copies whose documents have changed since the last comparison, with the bodies of the messages.

        Args:
          member: the member to whom the copies belong; None for the copies that all members have.
        """
        changes = []
        for kind in self._kinds:
            if kind.name in copies:
                self._compared = kind.name
                shown = self.common[kind.name] if member is None else self.shown(kind, member)
                body = copies[kind.name].update(shown)
                if body is not None:
                    changes.append((copies[kind.name], body))
        return changes

    def _copy(self, kind: DocumentKind, member: Member, own: dict[str, _Copy]) -> _Copy:
        """Return what a member has of a document, after making it if necessary."""
        self._compared = kind.name
        copies = self._copies if not kind.each and kind.view is None else own
        if kind.name not in copies:
            self._versions += 1  # so that no patch of an earlier copy fits this one
            shadow = kind.differ.shadow(self.shown(kind, member))
            copies[kind.name] = _Copy(kind.mirrored.wire_name, kind.differ, shadow, self._versions)
        return copies[kind.name]

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
        if not self._due and (self._receivers or self._entering or self.note_changed is not None):
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
            self._due = False
            self.flush()
            if self._patch_seconds:
                await trio.sleep(self._patch_seconds)

    def statistics(self) -> list[DocumentStatistics]:
        """Return what an operator may see of the documents: those that all members see."""
        return [
            DocumentStatistics(kind.name, "each" if kind.each else "views" if kind.view is not None else "whole", text)
            for kind in self._kinds
            for text in ["" if kind.each or kind.view is not None else self._text(kind)]
        ]

    def _text(self, kind: DocumentKind) -> str:
        try:
            return str(JSON.encode(kind.differ.whole(self.common[kind.name])))[:MAX_TEXT]
        except (TypeError, ValueError):
            return ""  # the next comparison closes the room

    def shown(self, kind: DocumentKind, member: Member) -> Any:
        """Return what a member may see of a document."""
        if kind.each:
            return own_document(member, kind.name, kind.cls)
        document = self.common[kind.name]
        return document if kind.view is None else kind.view(document, member.facade)
