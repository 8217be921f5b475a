"""The identity of a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Session:
    """The identity of a client. All rooms, tabs and transports of a person share one session."""

    id: str
    """The unique id of the session, such as a user id. The id is not a secret."""

    name: str = ""
    """The name in the session's key; empty if the key has no name."""

    claims: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    """Further plain data in the session's key."""

    guest: bool = False
    """True if the app's code has not verified this person: the client has no key, or a key that ``POST /session``
    issues to everybody."""

    bot: bool = False
    """True if the player is code in the room's own process: see `open_bot`. A key cannot set this."""
