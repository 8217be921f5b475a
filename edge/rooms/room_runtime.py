"""The run time of a room, which admits players and runs the author's code in tasks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import trio

from ..aio.guard import guarded
from ..aio.steps import note_steps, watch_steps
from ..codes import Code
from ..errors import Refused
from .cleanup import note_cut_short
from .kind import RoomKind, decided
from .ledger import Ledger
from .player_runtime import PlayerRuntime
from .room_core import AuthoredRoom, RoomCore
from .seat import Applicant, Seat
from .statistics import RoomStatistics

log: logging.Logger = logging.getLogger("edge.rooms")

# The reason that the client receives if the author's code raised an exception. The exception's own text may contain
# secrets, so the client does not receive that text.
CRASHED = "an error in the room's code"
TOOK_TOO_LONG = "the room took too long to open"


class RoomRuntime(RoomCore):
    """The run time of one room.

    Args:
      facade, kind, ledger: see `RoomCore`.
      make_player: makes the `Player` object for the author's code.
    """

    crashed_on: int | None

    def __init__(
        self, facade: AuthoredRoom, kind: RoomKind, ledger: Ledger, make_player: Callable[[PlayerRuntime], Any]
    ) -> None:
        super().__init__(facade, kind, ledger)
        self.setup_refusal: Refused | None = None
        """The refusal of all clients, if `Room.setup` failed."""
        self.closed: trio.Event = trio.Event()
        """Set once the last task of the room has ended."""
        self._make_player = make_player
        self._occupied = False  # true once the room has had a player
        self._admitted_early: list[PlayerRuntime] = []
        """Players who were admitted before the room's nursery was open."""

    @property
    def players(self) -> tuple[PlayerRuntime, ...]:
        """All players who hold a seat, in the order in which they joined."""
        return self.ledger.members  # type: ignore[return-value]  # `_add` adds only run times

    def find(self, session: str) -> PlayerRuntime | None:
        """Return the player of the session with this id, or None."""
        return self.ledger.find(session)  # type: ignore[return-value]  # `_add` adds only run times

    def take_seat(self, seat: Seat) -> PlayerRuntime:
        """Call the author's `admit`, add the player to the ledger, and schedule the player's task.

        The method is synchronous, so that no other task runs between `admit` and the addition.

        Raises:
          Refused: the player is not admitted; the `code` of the error gives the reason.
        """
        if self.lease.over:
            raise Refused("this server no longer has the room", Code.MOVED)
        if self.closing:
            raise Refused("the room is closing", Code.CLOSING)
        try:
            self._check_admission(seat)
        except Refused as refused:
            self._note_refused(refused)
            raise
        player = self._add(seat, self.ledger.take_number())
        self.note_step()
        self.counters.admitted += 1
        if self.journal is not None:
            self.journal.mark_changed(player)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("room %s: seat %d (%r) is taken", self.path, player.number, player.name, extra=player.log_context)
        return player

    def restore_seat(self, seat: Seat, number: int) -> PlayerRuntime:
        """Add a player whom another server admitted. Call `PlayerRuntime.restore` afterwards."""
        return self._add(seat, number)

    def _add(self, seat: Seat, number: int) -> PlayerRuntime:
        self._occupied = True
        player = PlayerRuntime(self, seat, number)
        player.facade = self._make_player(player)
        if self.nursery is None:
            self._admitted_early.append(player)
        else:
            self.nursery.start_soon(self._play, player)
        self.ledger.add(player)  # last, so that an exception above leaves no incomplete player in the ledger
        return player

    def _note_refused(self, refused: Refused) -> None:
        """Close the room if a client has opened it with ``create="only"`` and is refused. So it may open it again."""
        if self.opening.create == "only" and not (self._occupied or self.entering):
            self.close(f"its first client was refused: {refused}")

    def _check_admission(self, seat: Seat) -> None:
        self.ledger.check_free()
        try:
            decided("admit()", self.facade.admit(Applicant(seat.name, seat.session, seat.options)))
        except Refused:
            raise
        except Exception:
            self._note_crash()
            log.exception("room %s: admit() raised", self.path, extra=self.log_context)
            raise Refused(CRASHED) from None

    async def wait_set_up(self) -> None:
        """Wait until the room is set up. Admit clients only after that.

        Raises:
          Refused: the room closed before it was set up, or takes too long.

        *Cancellation*: nothing is lost.
        """
        with trio.move_on_after(self.kind.setup_seconds + 1):  # longer, so that a refusal of `setup` comes first
            await self.set_up.wait()
        if not self.set_up.is_set():  # the author's code, such as a thread, ignores its cancellation
            raise Refused(TOOK_TOO_LONG, Code.ROOM_CRASHED)
        if self.setup_refusal is not None:
            raise Refused(str(self.setup_refusal), self.setup_refusal.code)
        if self.ending is not None:
            code, reason = self.ending
            raise Refused(reason, code)

    async def authorize(self, applicant: Applicant) -> None:
        """Call the author's `authorize`, within its time limit.

        Raises:
          Refused: the author's code refused the applicant, raised another error, or took too long.

        *Cancellation*: the author's code is cancelled.
        """
        if not self.kind.has_authorize:
            return
        if self.closing:
            raise Refused("the room is closing", Code.CLOSING)
        with trio.move_on_after(self.kind.authorize_seconds) as scope:
            self.entering[scope] = None
            try:
                refused = await self._decide("authorize()", partial(self.facade.authorize, applicant), Code.REFUSED)
            finally:
                del self.entering[scope]
        if scope.cancelled_caught or trio.current_time() > scope.deadline:
            if self.closing:
                raise Refused("the room is closing", Code.CLOSING)
            text = "room %s: authorize() of %r did not return within %g s"
            log.warning(text, self.path, applicant.name, self.kind.authorize_seconds, extra=self.log_context)
            raise Refused("the room took too long to decide", Code.INTERNAL_ERROR)
        if refused is not None:
            self._note_refused(refused)
            raise refused

    async def _decide(self, what: str, run: Callable[[], Awaitable[object]], crash: Code) -> Refused | None:
        """Run an author's code that may refuse. Return its refusal; None if the code returned.

        Any other exception is logged, and counts as a refusal with the code `crash`.
        """
        refusals: list[Refused] = []

        async def decide() -> None:
            try:
                await run()
            except* Refused as group:  # a nursery of the author's puts it into a group
                refusals.append(next(_refusals(group)))

        if not await guarded(
            f"room {self.path}: {what}", decide, log_context=self.log_context, on_crash=self._note_crash
        ):
            return Refused(CRASHED, crash)
        return refusals[0] if refusals else None

    async def _set_up(self) -> bool:
        """Run the author's `setup`, then restore the room from its journal. Return false if that failed.

        Then the room closes, and is not set up.
        """
        with trio.move_on_after(self.kind.setup_seconds) as scope:
            refused = await self._decide("setup()", self.facade.setup, Code.ROOM_CRASHED)
        if scope.cancelled_caught or trio.current_time() > scope.deadline:
            text = "room %s: setup() did not return within %g s"
            log.error(text, self.path, self.kind.setup_seconds, extra=self.log_context)
            refused = Refused(TOOK_TOO_LONG, Code.ROOM_CRASHED)
        if refused is None and self.closing:  # `setup` has called `close`
            return False
        if refused is None:
            try:
                self.restore()
            except Exception:
                self._note_crash()
                log.exception("room %s could not be restored", self.path, extra=self.log_context)
                refused = Refused("the room could not be restored", Code.ROOM_CRASHED)
        if refused is None:
            self.set_up.set()
            if self.journal is not None:
                self.journal.mark_changed()
            return True
        self.setup_refusal = refused
        if refused.code is Code.ROOM_CRASHED:
            self.crashed_on = 0
        self.close(str(refused), code=refused.code)
        return False

    def restart(self, player: PlayerRuntime) -> None:
        """Call the author's `greet` for a client that starts fresh, and resend the requests that it has not answered.

        An exception in `greet` ends the seat with `Code.CRASHED`, like an exception in `player`.
        """
        player.forget_latest()
        if player.left:
            return
        try:
            decided("greet()", self.facade.greet(player.facade))
        except Exception:
            self.counters.crashes += 1
            what = "room %s: greet() of seat %d (%r) raised"
            log.exception(what, self.path, player.number, player.name, extra=player.log_context)
            player.leave(Code.CRASHED, CRASHED)
        player.requests.ask_again()
        self.note_step()

    def note_step(self) -> None:
        """Send the changes of the shared documents soon, because code of the author's has run outside of the room's
        tasks."""
        if self.sharing is not None:
            self.sharing.note_step()

    def _note_steps(self) -> None:
        """Send the changes of the shared documents soon after each step of the current task."""
        if self.sharing is not None:
            note_steps(self.sharing.note_step)

    async def live(self, *, idle: float) -> None:
        """Run the author's code until the room closes.

        Args:
          idle: the room closes when it has had no players, or only bots, for this many seconds.

        *Cancellation* closes the room with `Code.DRAINING`, and shielded clean-ups may run until their deadline. If
        another server may have the room, the room closes with `Code.MOVED`, and the clean-ups are cancelled at once.
        """
        try:
            with nullcontext() if self.sharing is None else watch_steps():
                await self._live(idle)
        finally:
            if self.journal is not None:
                await self.journal.close()
            self.closed.set()

    async def _live(self, idle: float) -> None:
        self._note_steps()
        async with trio.open_nursery() as nursery:
            self.nursery: trio.Nursery | None = nursery
            try:
                with self.run_scope:
                    if self.set_up.is_set() or await self._set_up():
                        for player in self._admitted_early:
                            nursery.start_soon(self._play, player)
                        self._admitted_early.clear()
                        nursery.start_soon(self._close_when_idle, idle)
                        if self.sharing is not None:
                            nursery.start_soon(self._share)
                        await self._run()
            finally:
                if not self.closing:
                    code, reason = self._why_cancelled()
                    self.close(reason, code=code)

    async def _share(self) -> None:
        """Send the changes of the shared documents after each step of the room's code, until the room closes."""
        assert self.sharing is not None
        with self.sharing_scope:
            await self.sharing.run()

    async def _run(self) -> None:
        """Run the author's `run`, and close the room."""
        what = f"room {self.path}: run()"
        try:
            returned = await guarded(what, self.facade.run, log_context=self.log_context, on_crash=self._note_crash)
        except BaseException as exc:
            note_cut_short(what, exc, self.log_context)
            raise
        if not returned:
            self.crashed_on = len(self.ledger)
        self.close(code=Code.ROOM_CLOSED if returned else Code.ROOM_CRASHED)

    def statistics(self) -> RoomStatistics:
        """Return the current statistics of the room."""
        return RoomStatistics(
            name=self.path,
            age=self.now(),
            maximum=self.ledger.maximum,
            locked=self.ledger.locked,
            round=self.round.statistics() if self.round is not None else None,
            turns=[turn.statistics() for player in self.players for turn in player.turns],
            players=[player.statistics() for player in self.players],
            documents=[] if self.sharing is None else self.sharing.statistics(),
        )

    async def _play(self, player: PlayerRuntime) -> None:
        """Run the author's `player` for one player, and end the seat afterwards."""
        self._note_steps()
        try:
            with player.scope:
                if not player.left:
                    player.start()
                    play = partial(self.facade.player, player.facade)
                    try:
                        returned = await guarded(
                            player.task_name, play, log_context=player.log_context, on_crash=self._note_crash
                        )
                    except BaseException as exc:
                        note_cut_short(player.task_name, exc, player.log_context)
                        raise
                    if not returned:
                        player.leave(Code.CRASHED, CRASHED)
                    player.leave(Code.LEFT)
        finally:
            if not player.left:
                player.leave(*self._why_cancelled())
            assert player.ending is not None
            self.counters.ended[player.ending.code] += 1
            if log.isEnabledFor(logging.DEBUG):
                code = player.ending.code.name.lower()
                log.debug(
                    "room %s: seat %d (%r) left: %s",
                    self.path,
                    player.number,
                    player.name,
                    code,
                    extra=player.log_context,
                )
            player.end()

    def _why_cancelled(self) -> tuple[Code, str]:
        """Return the close code and the reason to send after the room was cancelled from outside.

        If the room is persistent and not closing, end its lease first, because another server may restore the room.
        """
        if self.journal is not None and not self.closing:
            self.lease.lose()
        if self.lease.over:
            return Code.MOVED, "this server no longer has the room"
        return Code.DRAINING, "the server is shutting down"

    def _note_crash(self) -> None:
        self.counters.crashes += 1

    async def _close_when_idle(self, idle: float) -> None:
        with self.timer_scope:
            await self.ledger.run_timer(idle=idle)
            while self.entering:  # an applicant that `authorize` has not decided on may join
                await self.ledger.run_timer(idle=max(idle, 1))
            self.close("the room was idle")


def _refusals(group: BaseExceptionGroup[Refused]) -> Iterator[Refused]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _refusals(exc)
        else:
            yield exc
