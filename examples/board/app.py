"""A web app with a login, written with Starlette, and the boards on the same port."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

import edge
from edge.server.static import STRICT_HEADERS, StaticFolder

from .room import Board
from .store import Store


@attrs.frozen
class User:
    """A person who may log in. A real app has its users in a database."""

    salt: bytes
    password_hash: bytes = attrs.field(repr=False)
    boards: list[str]


def hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


USERS = {
    "ada": User(b"ada", hashed("analytical", b"ada"), ["plans", "home"]),
    "ben": User(b"ben", hashed("bernoulli", b"ben"), ["plans"]),
}


def make_app(store: Store, *, users: Mapping[str, User] = USERS, keys: edge.Keys | None = None) -> edge.App:
    """Make the app.

    Args:
      store: the database of the boards.
      users: the people who may log in, by name.
      keys: signs the sessions; by default the secret in the environment variable ``EDGE_SECRET``, or a random one.
    """

    def make_board() -> Board:
        return Board(store)

    async def home(request: Request) -> Response:
        return RedirectResponse("/board/")

    async def login(request: Request) -> Response:
        asked = await request.json()
        name, password = str(asked.get("name", "")).strip().lower(), str(asked.get("password", ""))
        user = users.get(name)
        salt, expected = (b"", b"") if user is None else (user.salt, user.password_hash)
        given = await trio.to_thread.run_sync(hashed, password, salt)  # slow on purpose
        if user is None or not hmac.compare_digest(given, expected):
            return JSONResponse({"error": "this name and password do not belong together"}, 401)
        key = app.keys.issue(f"user-{name}", name=name.title(), claims={"boards": user.boards})
        response = Response(status_code=204)
        response.headers.append(*app.cookie.keep(key, secure=is_secure(request)))
        return response

    async def logout(request: Request) -> Response:
        response = Response(status_code=204)
        for line in app.cookie.clear(request, secure=is_secure(request)):
            response.headers.append(*line)
        return response

    async def me(request: Request) -> Response:
        session = app.session(request)
        if session is None or session.guest:
            return JSONResponse({"name": None, "boards": []})
        return JSONResponse({"name": session.name, "boards": session.claims["boards"]})

    routes = [
        Route("/", home),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/me", me),
    ]
    app = edge.App(
        {"board": make_board},
        static={"/board": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)},
        mount=Starlette(routes=routes),
        sessions=edge.Sessions(guests=False, keys=keys),
    )
    return app


def is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


app = make_app(Store(os.environ.get("BOARD_DATABASE", ":memory:")))
