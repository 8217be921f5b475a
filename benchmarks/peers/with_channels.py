"""An echo and rooms in Django Channels, on uvicorn with uvloop. The rooms are groups of the in-memory channel layer."""

from __future__ import annotations

import sys
from typing import Any

import django
import uvicorn
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a benchmark",
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402  # Django must be set up first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.group = f"room-{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send(self.group, {"type": "say", "content": content})

    async def say(self, message: dict[str, Any]) -> None:
        await self.send_json(message["content"])


app = ProtocolTypeRouter(
    {"websocket": URLRouter([path("echo/<int:room>", Echo.as_asgi()), path("room/<int:room>", Room.as_asgi())])}
)
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    ws_per_message_deflate=False,
    log_level="warning",
    backlog=4096,
)
