"""The HTTP API for a separate web app: publish to a room, list rooms and seats, kick a player, revoke a session."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import attrs

from ..cluster.node import Node
from ..codes import Code
from ..errors import BrokerDown, InvalidEvent, Refused
from ..protocol.codec import JSON
from ..protocol.structure import structure
from ..rooms.directory import Directory
from ..rooms.kind import decided
from ..rooms.player_runtime import PlayerRuntime
from ..rooms.room_runtime import RoomRuntime
from ..transports.http.http import Request, Response
from ..transports.http.responses import error_response, json_response

PREFIX = "/edge-api/"
MIN_TOKEN_BYTES = 16

T = TypeVar("T")


@attrs.frozen
class Publish:
    """The body of a request to publish an event to a room."""

    event: str
    """The event's name on the wire."""
    body: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Kick:
    """The body of a request to remove a session's player from a room."""

    session: str
    reason: str = ""


@attrs.frozen
class Revoke:
    """The body of a request to revoke the keys of a session."""

    session: str
    until: float | None = None
    """The server revokes keys that were issued up to this time, in seconds since the epoch. None stands for the default
    of `Keys.revoke`."""


class Served(Protocol):
    """The members of `Site` that the API uses."""

    directory: Directory
    node: Node | None

    def revoke(self, session: str, *, until: float | None = None) -> float: ...


class Api:
    """Answers API requests, and passes a request about a room on another server to that server.

    Args:
      token: the secret that the web app sends in ``Authorization: Bearer``; at least 16 bytes.

    Raises:
      ValueError: the token is shorter than 16 bytes.
    """

    def __init__(self, token: str, site: Served) -> None:
        if len(token.encode()) < MIN_TOKEN_BYTES:
            raise ValueError(f"api_token is too short: it needs at least {MIN_TOKEN_BYTES} bytes")
        self._token = token.encode()
        self._site = site

    async def respond(self, request: Request) -> Response:
        """Return the response to an API request, whose path begins with `PREFIX`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            return error_response(401, "token", "send the API token in the header Authorization: Bearer")
        assert self._site.node is not None
        try:
            match request.method, request.path.removeprefix(PREFIX).split("/"):
                case "GET", ["rooms"]:
                    rooms = await self._site.node.list_rooms(request.query.get("kind"))
                    return json_response({"rooms": [attrs.asdict(each) for each in rooms]})
                case "POST", ["revoke"]:
                    asked = _read(request.body, Revoke)
                    return json_response({"until": self._site.revoke(asked.session, until=asked.until)})
                case method, ["rooms", kind, name, *rest]:
                    owner = None
                    if self._site.directory.find_runtime(kind, name) is None:
                        owner = await self._site.node.owner(f"{kind}/{name}")
                    if owner is None:
                        return await self._act(method, kind, name, rest, request.body)
                    status, body = await self._site.node.rpc.ask(owner, "api", method, kind, name, rest, request.body)
                    return Response(status, body, "application/json")
        except InvalidEvent as exc:
            return error_response(422, exc.problem, str(exc))
        except BrokerDown as exc:
            return error_response(503, "broker", str(exc))
        return error_response(404, "not_found", "the API has no request with this method and path")

    async def answer(self, method: str, kind: str, name: str, rest: list[str], body: bytes) -> tuple[int, bytes]:
        """Answer a request that another server received for a room of this server. Return the status and the body."""
        response = await self._act(method, kind, name, rest, body)
        return response.status, response.body

    async def _act(self, method: str, kind: str, name: str, rest: list[str], body: bytes) -> Response:
        room = self._site.directory.find_runtime(kind, name)
        if room is None:
            return error_response(404, "no_room", "no room of this kind and name is open")
        actions: dict[tuple[str, ...], Callable[[RoomRuntime, bytes], Response]] = {
            ("GET",): self._show,
            ("POST", "publish"): self._publish,
            ("POST", "kick"): self._kick,
        }
        action = actions.get((method, *rest))
        if action is None:
            return error_response(404, "not_found", "the API has no request with this method and path")
        try:
            await room.wait_set_up()
            return action(room, body)
        except InvalidEvent as exc:
            return error_response(422, exc.problem, str(exc))
        except Refused as exc:
            return error_response(409, "refused", str(exc))

    def _show(self, room: RoomRuntime, body: bytes) -> Response:
        return json_response({"name": room.path, "seats": [_seat(player) for player in room.players]})

    def _publish(self, room: RoomRuntime, body: bytes) -> Response:
        asked = _read(body, Publish)
        kind = room.kind.sends.by_name.get(asked.event)
        if kind is None:
            raise InvalidEvent("unknown_event", f"this room does not send an event named {asked.event[:64]!r}")
        decided("publish()", room.facade.publish(structure(asked.body, kind.cls, rename=kind.rename)))
        room.note_step()
        return json_response({"seated": len(room.ledger)})

    def _kick(self, room: RoomRuntime, body: bytes) -> Response:
        asked = _read(body, Kick)
        player = room.find(asked.session)
        if player is None:
            return error_response(404, "no_seat", "this session has no seat in the room")
        player.leave(Code.KICKED, asked.reason)
        return json_response({})


def _seat(player: PlayerRuntime) -> dict[str, Any]:
    return {
        "number": player.number,
        "name": player.name,
        "session": player.session.id,
        "connected": player.connected,
    }


def _read(body: bytes, kind: type[T]) -> T:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("malformed", "the request body is not UTF-8") from None
    return structure(JSON.decode(text), kind)
