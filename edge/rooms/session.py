"""The identity in a session key that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Session:
    """An identity: the same in all rooms, tabs and transports of a person. It was checked."""

    id: str
    """The unique id of the session, such as the user's id. No secret."""

    name: str = ""
    """The name that the issuer of the key gave; empty if none."""

    claims: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    """Whatever else the issuer of the key says of them: plain data."""

    guest: bool = False
    """True if no code of the app's has vouched for this person: they came without a key, or with one that
    ``POST /session`` gives to anybody."""

    bot: bool = False
    """True if it is code in the room's own process: see `open_bot`. No key can say so."""
