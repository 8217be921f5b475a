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

    ``async for event in player`` gives every event that no narrower `receive` or `Room.listen` has claimed.

    Attributes of your own are fine, such as ``player.score = 0``, under any name that is not documented here.
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
        """True once they have left: then nothing more is sent to them."""
        return self.__edge_runtime.left

    @property
    def ending(self) -> Ending | None:
        """Why they left; None while they have not."""
        return self.__edge_runtime.ending

    @property
    def restored(self) -> bool:
        """True if the seat was taken on another server, which the room has left: then `Room.player` runs once more."""
        return self.__edge_runtime.restored

    def send(self, event: ToPlayer) -> None:
        """Send this player an event. Never waits; nothing happens if they have gone for good.

        Raises:
          TypeError: not one of the room's events to players, or a value in it is not of its field's type.
          ValueError: something in it can't travel: a NaN, a number too large, half a character; or all of it is larger
            than `Limits.sent_bytes`.
          SendOverflow: too much is sent to them in one step.
        """
        self.__edge_runtime.send(event)

    @overload
    async def receive(self, kind: type[E], /) -> E: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], another: type[E3], /) -> E | E2 | E3: ...
    async def receive(self, *kinds: type[Any]) -> Any:
        """Wait for this player's next event of these kinds. Only what arrives during the wait counts.

        Raises:
          Gone: the player has left, or leaves.

        *Cancellation*: nothing is lost: an event that comes later is refused with ``not_now``.
        """
        return await self.__edge_runtime.receive(*kinds)

    def latest(self, kind: type[E], key: Hashable = None) -> E | None:
        """The newest event of this kind that has come, whose delivery is ``latest``: what its client wants now.

        Such an event is a value that is kept, whether or not anybody is listening for it, until a newer one comes or
        the client starts fresh: on a reload, say. Of keys, the 256 newest are kept, and no more bytes than
        `Limits.inbox_bytes`: the client is told when it has more.

        Args:
          key: of which key, where the class has one.

        Returns: None if there is none.

        Raises:
          TypeError: not an event that players send, or not a ``latest`` one.
        """
        return cast("E | None", self.__edge_runtime.latest(kind, key))

    @overload
    def listen(self, kind: type[E], /) -> Listener[E]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], /) -> Listener[E | E2]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], another: type[E3], /) -> Listener[E | E2 | E3]: ...
    def listen(self, *kinds: type[Any]) -> Listener[Any]:
        """``async for event in player.listen(Drew, Undid)``: this player's events of these kinds, none missed between.

        Where `receive` is called in a loop, an event that comes while the loop's body runs is refused; here it waits.
        """
        return self.__edge_runtime.listeners.listen(self.__edge_runtime.room.kind.check_receives(*kinds))

    async def ask(self, question: ToPlayer, answer: type[E]) -> E:
        """Send an event and wait for the player's typed answer to it. Best inside a turn, which bounds the wait.

        An answer that does not fit is refused, and the wait goes on.

        Raises:
          Gone: the player has left, or leaves before answering. A turn of theirs turns it into its outcome.
          RequestFailed: the client refuses to answer. A turn of the player turns it into its outcome, too; outside of
            one, catch it.

        *Cancellation* is told to the client, and so is the deadline of the scopes around. A client that starts fresh,
        on a reload say, is asked again.
        """
        return cast("E", await self.__edge_runtime.ask(question, answer))

    def reply(self, request: FromPlayer, answer: ToPlayer) -> bool:
        """Answer an event that the client sent as a request.

        Args:
          request: the very object that was received.

        Returns: whether an answer was waited for: in vain if it was no request, is answered already, or given up.
        """
        return self.__edge_runtime.requests.reply(request, self.__edge_runtime.room.kind.check_sends(answer))

    def answering(self, request: FromPlayer) -> ReplyScope[ToPlayer]:
        """``with player.answering(request) as answering:``: a block that ends when nobody waits for the answer.

        `ReplyScope.reply` gives the one answer; ``await answering.send(...)`` gives one of several.

        An event that was sent without asking for an answer may be answered, too, in vain.

        Args:
          request: the very object that was received.
        """
        return self.__edge_runtime.requests.answering(request, self.__edge_runtime.room.kind.check_sends)

    def kick(self, reason: str = "") -> None:
        """Put the player out of the room. Their `player()` is cancelled; they are told `Code.KICKED`."""
        self.__edge_runtime.leave(Code.KICKED, reason)

    def shielded_cleanup(self) -> trio.CancelScope:
        """``with player.shielded_cleanup():`` in a `finally` of `player()`: a shield under which it may still wait.

        Two seconds at most for all the clean-ups of one player, and one deadline for everybody when the room closes.
        """
        return self.__edge_runtime.shielded_cleanup()


def member_of(player: Player[Any, Any]) -> PlayerRuntime:
    """The run time of a player."""
    runtime: PlayerRuntime = player._Player__edge_runtime  # type: ignore[attr-defined]  # out of the way of authors' names
    return runtime
