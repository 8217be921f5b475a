"""`Player`, the object through which an author's room uses one player."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager
from types import UnionType
from typing import Any, Generic, TypeVar, cast, overload

import trio

from ..aio.members import guard_members
from ..aio.no_public_constructor import NoPublicConstructor
from ..codes import Code
from ..requests.listening import Listener
from ..requests.reply import ReplyScope
from .ledger import Ending
from .player_runtime import PlayerRuntime
from .session import Session

FromPlayer = TypeVar("FromPlayer")
ToPlayer = TypeVar("ToPlayer")
E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
E6 = TypeVar("E6")


@guard_members()
class Player(Generic[FromPlayer, ToPlayer], metaclass=NoPublicConstructor):
    """One player of a room. edge creates the players.

    ``async for event in player`` yields each event for whose class no `receive` or `listen` is active.

    You may set your own attributes, such as ``player.score = 0``, under any name that is not documented here.
    """

    def __init__(self, runtime: PlayerRuntime) -> None:
        self.__edge_runtime = runtime

    def __repr__(self) -> str:
        return repr(self.__edge_runtime)

    def __aiter__(self) -> Listener[FromPlayer]:
        return self.__edge_runtime.listeners.listen(None)

    @property
    def number(self) -> int:
        """The number of the seat: the lowest number, from 0, that was free when the player joined."""
        return self.__edge_runtime.number

    @property
    def name(self) -> str:
        """The name of the player, which `Room.admit` allowed."""
        return self.__edge_runtime.name

    @property
    def session(self) -> Session:
        """The session of the player, with the claims of the session's key."""
        return self.__edge_runtime.session

    @property
    def options(self) -> Any:
        """The join options with which the player got the seat, an instance of `Room.join_options`; None without."""
        return self.__edge_runtime.seat.options

    @property
    def connected(self) -> bool:
        """True while a connection holds the seat."""
        return self.__edge_runtime.connected

    @property
    def left(self) -> bool:
        """True once the player has left. From then on, `send` sends nothing."""
        return self.__edge_runtime.left

    @property
    def ending(self) -> Ending | None:
        """The code and the reason with which the player left; None until the player leaves."""
        return self.__edge_runtime.ending

    @property
    def restored(self) -> bool:
        """True if this server restored the player from a journal. For such a player, `Room.player` starts again."""
        return self.__edge_runtime.restored

    def send(self, event: ToPlayer) -> None:
        """Send this player an event. This method never waits, and has no effect once the player has left.

        Raises:
          TypeError: `event` is not one of the room's events, or a value does not have the type of its field.
          ValueError: a value cannot be encoded (a NaN, a number too large, half a character), or the event is larger
            than `Limits.sent_bytes`.
          SendOverflow: the room sent the player too much without letting other tasks run.
        """
        self.__edge_runtime.send(event)

    @overload
    async def receive(self, kind: type[E], /) -> E: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], third: type[E3], /) -> E | E2 | E3: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], /
    ) -> E | E2 | E3 | E4: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], /
    ) -> E | E2 | E3 | E4 | E5: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], sixth: type[E6], /
    ) -> E | E2 | E3 | E4 | E5 | E6: ...
    async def receive(self, *kinds: type[Any]) -> Any:
        """Wait for the next event of these classes from this player. Events that arrived earlier are not returned.

        Raises:
          Gone: the player has left, or leaves during the wait.

        *Cancellation*: no event is lost. Later events are refused as ``not_now`` if no other code listens for them.
        """
        return await self.__edge_runtime.receive(*kinds)

    def latest(self, kind: type[E], key: Hashable = None) -> E | None:
        """Return the newest event of this class from the player. The delivery of the class must be ``latest``.

        edge stores the event, even if no code listens for it, until a newer event replaces it or the client starts
        fresh. edge stores one event for each of the newest 256 keys, and at most `Limits.inbox_bytes` in total. If the
        client sends more, edge drops the oldest event and sends the client an error.

        Args:
          key: the value of the key field, if the class has one.

        Returns: the event; None if no event is stored.

        Raises:
          TypeError: players may not send this class, or its delivery is not ``latest``.
        """
        return cast("E | None", self.__edge_runtime.latest(kind, key))

    @overload
    def listen(self, kind: type[E], /, *, share: bool = False) -> Listener[E]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], /, *, share: bool = False) -> Listener[E | E2]: ...
    @overload
    def listen(
        self, kind: type[E], other: type[E2], third: type[E3], /, *, share: bool = False
    ) -> Listener[E | E2 | E3]: ...
    @overload
    def listen(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], /, *, share: bool = False
    ) -> Listener[E | E2 | E3 | E4]: ...
    @overload
    def listen(
        self,
        kind: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        /,
        *,
        share: bool = False,
    ) -> Listener[E | E2 | E3 | E4 | E5]: ...
    @overload
    def listen(
        self,
        kind: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        sixth: type[E6],
        /,
        *,
        share: bool = False,
    ) -> Listener[E | E2 | E3 | E4 | E5 | E6]: ...
    def listen(self, *kinds: type[Any], share: bool = False) -> Listener[Any]:
        """Listen for events: ``async for event in player.listen(Drew, Undid)`` yields all events of these classes.

        Events that arrive while the body of the loop runs are queued. If you call `receive` in a loop instead, events
        that arrive between two calls are refused.

        Args:
          share: True if another loop of this player may listen for the same classes. Then each of the loops gets each
            event.

        Raises:
          TypeError: no class is given, or players may not send a class.
          RuntimeError: another loop of this player listens for one of these classes, and `share` is false.
        """
        runtime = self.__edge_runtime
        return runtime.listeners.listen(runtime.room.kind.check_receives(*kinds), share=share)

    @overload
    async def ask(self, question: ToPlayer, answer: type[E], /) -> E: ...
    @overload
    async def ask(self, question: ToPlayer, answer: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def ask(self, question: ToPlayer, answer: type[E], other: type[E2], third: type[E3], /) -> E | E2 | E3: ...
    @overload
    async def ask(
        self, question: ToPlayer, answer: type[E], other: type[E2], third: type[E3], fourth: type[E4], /
    ) -> E | E2 | E3 | E4: ...
    @overload
    async def ask(
        self,
        question: ToPlayer,
        answer: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        /,
    ) -> E | E2 | E3 | E4 | E5: ...
    @overload
    async def ask(
        self,
        question: ToPlayer,
        answer: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        sixth: type[E6],
        /,
    ) -> E | E2 | E3 | E4 | E5 | E6: ...
    @overload
    async def ask(self, question: ToPlayer, answer: UnionType, /) -> Any: ...
    async def ask(self, question: ToPlayer, *answers: Any) -> Any:
        """Send an event as a request, and wait for the player's typed reply. Use a turn to limit the wait.

        A reply of another class is refused, and the wait continues. A client that starts fresh, for example after a
        reload, receives the request again. The request tells the client how many seconds remain until the
        earliest deadline of the enclosing cancel scopes.

        Args:
          question: the event to send.
          answers: the event classes of the reply, or a union of them.

        Raises:
          Gone: the player has left, or leaves before the reply. A turn of the player catches this error, and its
            outcome is `Outcome.LEFT`.
          RequestFailed: the client refuses to reply. A turn catches this error, and its outcome is `Outcome.REFUSED`.
            Outside a turn, catch this error yourself.

        *Cancellation*: the request is withdrawn, and the client is notified.
        """
        return await self.__edge_runtime.ask(question, *answers)

    def reply(self, request: FromPlayer, answer: ToPlayer) -> bool:
        """Answer an event that the client sent as a request.

        Args:
          request: the received object itself, not an equal object.
          answer: the event to send as the reply.

        Returns: True if the reply was sent; False if the event was not a request, or if the request was already
          answered or cancelled.

        Raises:
          TypeError, ValueError: see `send`.
        """
        return self.__edge_runtime.requests.reply(request, answer)

    def refuse(self, request: FromPlayer, message: str, *, data: ToPlayer | None = None) -> bool:
        """Refuse an event that the client sent as a request. The client gets `RequestFailed` with the same data.

        Args:
          request: the received object itself.
          message: the reason, for the client.
          data: an event with details, or None.

        Returns: True if the client waits for the reply; False if the event was not a request, or if the request was
          already answered or cancelled.

        Raises:
          TypeError, ValueError: see `send`.
        """
        return self.__edge_runtime.requests.refuse_request(request, message, data)

    def answering(self, request: FromPlayer) -> ReplyScope[ToPlayer]:
        """Answer a request in a block: ``with player.answering(request) as answering:``.

        The block is cancelled when the client no longer waits. `ReplyScope.reply` sends the only or the last reply;
        ``await answering.send(...)`` sends one of several replies. For an event that was not a request, replies have no
        effect.

        Args:
          request: the received object itself, not an equal object.
        """
        return self.__edge_runtime.requests.answering(request)

    def kick(self, reason: str = "") -> None:
        """End the seat of this player with `Code.KICKED`, and cancel the player's task."""
        self.__edge_runtime.leave(Code.KICKED, reason)

    def shielded_cleanup(self) -> AbstractContextManager[trio.CancelScope]:
        """Return a shielded scope for awaiting in a `finally` block of `player()`: ``with player.shielded_cleanup():``.

        All clean-ups of the player have the same deadline: `Room.cleanup_seconds` after the player left. When the room
        closes, the clean-ups of all players have the same deadline.
        """
        return self.__edge_runtime.shielded_cleanup()


def member_of(player: Player[Any, Any]) -> PlayerRuntime:
    """Return the run time of a player."""
    runtime: PlayerRuntime = player._Player__edge_runtime  # type: ignore[attr-defined]  # a private name
    return runtime
