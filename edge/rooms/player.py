"""A player, as authors see it: a seat, and the task that runs for it."""

from __future__ import annotations

from collections.abc import Hashable
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


@guard_members
class Player(Generic[FromPlayer, ToPlayer], metaclass=NoPublicConstructor):
    """One player of a room. The room makes its players.

    ``async for event in player`` gives all events that no `receive` or `listen` for their classes takes.

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
        """The seat's number: the lowest that was free, from 0."""
        return self.__edge_runtime.number

    @property
    def name(self) -> str:
        """The name of the player, which `Room.admit` allowed."""
        return self.__edge_runtime.name

    @property
    def session(self) -> Session:
        """The session of the player, with the claims of the key's issuer."""
        return self.__edge_runtime.session

    @property
    def connected(self) -> bool:
        """True while a connection holds the seat."""
        return self.__edge_runtime.connected

    @property
    def left(self) -> bool:
        """True once the player has left. Then no more events are sent."""
        return self.__edge_runtime.left

    @property
    def ending(self) -> Ending | None:
        """Why the player left; None before."""
        return self.__edge_runtime.ending

    @property
    def restored(self) -> bool:
        """True if the room was restored on this server with this player. Then `Room.player` runs once more."""
        return self.__edge_runtime.restored

    def send(self, event: ToPlayer) -> None:
        """Send this player an event. Never waits. Without effect once the player has left.

        Raises:
          TypeError: `event` is not one of the room's events, or a value has not the type of its field.
          ValueError: a value cannot be encoded (a NaN, a number too large, half a character), or the event is larger
            than `Limits.sent_bytes`.
          SendOverflow: the player was sent too much without a pause.
        """
        self.__edge_runtime.send(event)

    @overload
    async def receive(self, kind: type[E], /) -> E: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], another: type[E3], /) -> E | E2 | E3: ...
    async def receive(self, *kinds: type[Any]) -> Any:
        """Wait for the next event of these classes from this player. Only events that arrive during the wait count.

        Raises:
          Gone: the player has left, or leaves.

        *Cancellation*: no event is lost. Events that come later are refused with ``not_now``.
        """
        return await self.__edge_runtime.receive(*kinds)

    def latest(self, kind: type[E], key: Hashable = None) -> E | None:
        """The newest event of this class from the player. The delivery of the class is ``latest``.

        Such an event is stored, also without a listener, until a newer one comes or the client starts fresh. The newest
        256 keys are stored, with at most `Limits.inbox_bytes`; the client is told if it sends more.

        Args:
          key: the value of the key field, if the class has one.

        Returns: the event, or None.

        Raises:
          TypeError: players do not send this class, or its delivery is not ``latest``.
        """
        return cast("E | None", self.__edge_runtime.latest(kind, key))

    @overload
    def listen(self, kind: type[E], /) -> Listener[E]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], /) -> Listener[E | E2]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], another: type[E3], /) -> Listener[E | E2 | E3]: ...
    def listen(self, *kinds: type[Any]) -> Listener[Any]:
        """``async for event in player.listen(Drew, Undid)``: all events of these classes from this player.

        Events that come while the body of the loop runs are queued. With `receive` in a loop they would be refused.
        """
        return self.__edge_runtime.listeners.listen(self.__edge_runtime.room.kind.check_receives(*kinds))

    async def ask(self, question: ToPlayer, answer: type[E]) -> E:
        """Send an event as a request, and wait for the player's typed answer. Use a turn to limit the wait.

        An answer that does not fit is refused, and the wait continues. A client that starts fresh, say on a reload, is
        asked again.

        Raises:
          Gone: the player has left, or leaves before the answer. A turn of the player makes this its outcome.
          RequestFailed: the client refuses to answer. A turn of the player makes this its outcome, too; outside of a
            turn, catch it.

        *Cancellation*: the client is told. It also knows the deadline of the enclosing scopes.
        """
        return cast("E", await self.__edge_runtime.ask(question, answer))

    def reply(self, request: FromPlayer, answer: ToPlayer) -> bool:
        """Answer an event that the client sent as a request.

        Args:
          request: the received object itself.

        Returns: True if the client waits for the answer; False if the event was no request, or if the request is
          answered or cancelled.

        Raises:
          TypeError, ValueError: see `send`.
        """
        return self.__edge_runtime.requests.reply(request, self.__edge_runtime.room.kind.check_sends(answer))

    def answering(self, request: FromPlayer) -> ReplyScope[ToPlayer]:
        """``with player.answering(request) as answering:``: a block that ends when the client no longer waits.

        `ReplyScope.reply` sends the only answer; ``await answering.send(...)`` sends one of several. For an event that
        was no request, answers have no effect.

        Args:
          request: the received object itself.
        """
        return self.__edge_runtime.requests.answering(request, self.__edge_runtime.room.kind.check_sends)

    def kick(self, reason: str = "") -> None:
        """End the seat of this player with `Code.KICKED`. The task of `Room.player` is cancelled."""
        self.__edge_runtime.leave(Code.KICKED, reason)

    def shielded_cleanup(self) -> trio.CancelScope:
        """``with player.shielded_cleanup():`` in a `finally` block of `player()`: a shielded scope for awaiting.

        All clean-ups of one player have two seconds together. When the room closes, all players have one deadline.
        """
        return self.__edge_runtime.shielded_cleanup()


def member_of(player: Player[Any, Any]) -> PlayerRuntime:
    """The run time of a player."""
    runtime: PlayerRuntime = player._Player__edge_runtime  # type: ignore[attr-defined]  # out of the way of authors' names
    return runtime
