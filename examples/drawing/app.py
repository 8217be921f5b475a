"""The app of the drawing game: its rooms, its page, and a route that finds a room with a free seat."""

from __future__ import annotations

import secrets
from pathlib import Path

import edge
from edge.server.static import STRICT_HEADERS, StaticFolder

from .room import ExquisiteCorpse

app = edge.App(
    {"drawing": ExquisiteCorpse}, static={"/": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)}
)

ADJECTIVES = ["amber", "brave", "calm", "dizzy", "eager", "fuzzy", "gentle", "happy", "jolly", "lucky", "merry", "shy"]
ANIMALS = ["badger", "crane", "dingo", "egret", "ferret", "gecko", "heron", "ibis", "lynx", "newt", "otter", "walrus"]


@app.route("/lobby")
async def lobby(request: edge.Request) -> edge.Response:
    """Return the name of the fullest room that has a free seat, or a new name if there is no such room."""
    rooms = await app.list_rooms("drawing")
    free = [room for room in rooms if room.seated < room.maximum and not room.locked]
    free.sort(key=lambda room: -room.seated)
    name = (
        free[0].name
        if free
        else f"{secrets.choice(ADJECTIVES)}-{secrets.choice(ANIMALS)}-{secrets.randbelow(900) + 100}"
    )
    return edge.json_response({"room": name})
