"""The room of one board. It is loaded from the database before anybody joins, and saved each second and at its end."""

from __future__ import annotations

import attrs
import trio

import edge

from .events import (
    MAX_CARDS,
    Add,
    Card,
    Change,
    Done,
    Edit,
    FromPerson,
    Move,
    Person,
    Player,
    Point,
    Remove,
    Shown,
    ToPerson,
)
from .store import Store


class Board(edge.Room[FromPerson, ToPerson]):
    seats = edge.Seats(minimum=0, maximum=50, grace=20)
    cleanup_seconds = 5
    shown = edge.shared(Shown)

    def __init__(self, store: Store) -> None:
        self.store = store
        self.unsaved: dict[str, Card | None] = {}

    async def setup(self) -> None:
        self.shown.cards = await self.store.load(self.name)

    def admit(self, applicant: edge.Applicant) -> None:
        if self.name not in applicant.session.claims.get("boards", ()):
            raise edge.Refused("this board is not yours")

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.show_people)
            nursery.start_soon(self.show_cursors)
            try:
                async for _ in self.ticks(hz=1):
                    await self.save()
            finally:
                with self.shielded_cleanup():
                    await self.save()

    async def save(self) -> None:
        unsaved, self.unsaved = self.unsaved, {}
        if unsaved:
            await self.store.save(self.name, unsaved)

    async def player(self, player: Player) -> None:
        async for change in player.listen(Add, Edit, Move, Remove):
            with player.answering(change) as answering:
                self.put(*self.changed(change, player))
                answering.reply(Done())

    def changed(self, change: Change, player: Player) -> tuple[str, Card | None]:
        """Return the id of the card that a person changes, and the new card, or None if the card is removed."""
        if isinstance(change, Add):
            if len(self.shown.cards) >= MAX_CARDS:
                raise edge.RequestRefused(f"this board has {MAX_CARDS} cards, and no space for more")
            id = f"{self.random.getrandbits(64):016x}"
            last = max((card.place for card in self.shown.cards.values() if card.column == change.column), default=0.0)
            return id, Card(id, change.column, last + 1, change.text.strip(), player.name)
        card = self.shown.cards.get(change.id)
        if card is None:
            raise edge.RequestRefused("this card is gone")
        match change:
            case Edit():
                return card.id, attrs.evolve(card, text=change.text.strip())
            case Move():
                return card.id, attrs.evolve(card, column=change.column, place=change.place)
            case Remove():
                return card.id, None

    def put(self, id: str, card: Card | None) -> None:
        if card is None:
            del self.shown.cards[id]
        else:
            self.shown.cards[id] = card
        self.unsaved[id] = card

    async def show_people(self) -> None:
        while True:
            self.shown.people = [Person(player.number, player.name, player.connected) for player in self.players]
            await self.seats.wait_change()

    async def show_cursors(self) -> None:
        async for _ in self.ticks(hz=15):
            points = {str(player.number): player.latest(Point) for player in self.players if player.connected}
            self.shown.cursors = {number: point.at for number, point in points.items() if point and point.at}
