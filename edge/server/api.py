"""What a web app beside edge may ask over HTTP: publish into a room, list rooms and seats, kick, revoke."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs

from ..errors import InvalidEvent, Refused
from ..protocol.codec import JSON
from ..protocol.structure import structure
from ..rooms.directory import Directory
from ..rooms.player import Player
from ..rooms.room import Room
from ..transports.http import Request, Response
from .responses import error_response, json_response

PREFIX = "/edge-api/"
MIN_TOKEN_BYTES = 16

T = TypeVar("T")


@attrs.frozen
class Publish:
    """An event for a room."""

    event: str
    """Its name on the wire."""
    body: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Kick:
    """Put somebody out of a room."""

    session: str
    reason: str = ""


@attrs.frozen
class Revoke:
    """Honour no key any more that was issued for this session."""

    session: str


class Api:
    """The answers.

    Args:
      token: what the web app proves itself with, in ``Authorization: Bearer``; at least 16 bytes.
      revoke: see `App.revoke`.

    Raises:
      ValueError: a token that could be guessed.
    """

    def __init__(self, token: str, directory: Directory, revoke: Callable[[str], None]) -> None:
        if len(token.encode()) < MIN_TOKEN_BYTES:
            raise ValueError(f"the token of the API needs at least {MIN_TOKEN_BYTES} bytes")
        self._token = token.encode()
        self._directory = directory
        self._revoke = revoke

    async def respond(self, request: Request) -> Response:
        """The answer to a request below `PREFIX`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            return error_response(401, "token", "the token of the API is needed")
        steps = request.path.removeprefix(PREFIX).split("/")
        try:
            return await self._find(request, steps)
        except InvalidEvent as exc:
            return error_response(422, exc.problem, str(exc))
        except Refused as exc:
            return error_response(409, "refused", str(exc))

    async def _find(self, request: Request, steps: list[str]) -> Response:
        match request.method, steps:
            case "GET", ["rooms"]:
                return self._list(request.query.get("kind"))
            case "POST", ["revoke"]:
                self._revoke(_read(request, Revoke).session)
                return json_response({})
            case _, ["rooms", kind, name, *rest]:
                room = self._directory.find(kind, name)
                if room is None:
                    return error_response(404, "no_room", "no room of this kind and name is open")
                actions: dict[tuple[str, ...], Callable[[Room[Any, Any], Request], Awaitable[Response]]] = {
                    ("GET",): self._show,
                    ("POST", "publish"): self._publish,
                    ("POST", "kick"): self._kick,
                }
                action = actions.get((request.method, *rest))
                if action is not None:
                    return await action(room, request)
        return error_response(404, "not_found", "the API has no such request")

    def _list(self, kind: str | None) -> Response:
        return json_response({"rooms": [attrs.asdict(each) for each in self._directory.list(kind)]})

    async def _show(self, room: Room[Any, Any], request: Request) -> Response:
        return json_response({"name": room.name, "seats": [_seat(player) for player in room.players]})

    async def _publish(self, room: Room[Any, Any], request: Request) -> Response:
        asked = _read(request, Publish)
        kind = room.to_player.by_name.get(asked.event)
        if kind is None:
            raise InvalidEvent("unknown_event", f"this room sends no event {asked.event[:64]!r}")
        room.publish(structure(asked.body, kind.cls))
        return json_response({"seated": len(room.seats)})

    async def _kick(self, room: Room[Any, Any], request: Request) -> Response:
        asked = _read(request, Kick)
        player = room.seats.find(asked.session)
        if player is None:
            return error_response(404, "no_seat", "this session has no seat in the room")
        player.kick(asked.reason)
        return json_response({})


def _seat(player: Player[Any, Any]) -> dict[str, Any]:
    return {
        "number": player.number,
        "name": player.name,
        "session": player.session.id,
        "connected": player.connected,
    }


def _read(request: Request, kind: type[T]) -> T:
    try:
        text = request.body.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("malformed", "not UTF-8") from None
    return structure(JSON.decode(text), kind)
