"""Who somebody is: what a session's key says, once it has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Session:
    """Who somebody is, the same in every room, tab and transport of theirs. Rooms may believe it."""

    id: str
    """What tells this session from all others, such as the user's id; no secret."""

    name: str = ""
    """What they are called, where whoever issued the key said so."""

    claims: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    """Whatever else the issuer of the key says of them: plain data."""

    guest: bool = False
    """True if no code of the app's has vouched for this person: they came without a key, or with one that
    ``POST /session`` gives to anybody."""

    bot: bool = False
    """True if it is code in the room's own process: see `open_bot`. No key can say so."""
