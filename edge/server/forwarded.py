"""The headers in which proxies describe a request that they forward."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .hosts import HOST

# RFC 7239 section 4: a parameter of `Forwarded`, and what parts it from the next: of the same proxy, or of another.
PARAMETER = re.compile(
    r"""\s* (?P<name>[\w!#$%&'*+.^`|~-]+) =
        (?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<token>[^\s;,"]*) )
        \s* (?:[;,]|$)""",
    re.VERBOSE,
)


@attrs.frozen
class Forwarded:
    """For whom proxies of ours ask, and how they were asked. Only to be believed of those."""

    addresses: Sequence[str] = ()
    """One for each proxy that says so, as it was said; the newest last."""
    scheme: str = ""
    """``http`` or ``https``; empty if nobody says."""
    host: str = ""
    """The host that the first proxy was asked for; empty if unknown."""

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> Forwarded:
        """Read ``X-Forwarded-For``, ``-Proto`` and ``-Host``, or ``Forwarded`` if there is no ``X-Forwarded-For``.

        A proxy that says the one passes on the other as its client sent it. Nearly all say ``X-Forwarded-For``.
        """
        if "x-forwarded-for" not in headers and "forwarded" in headers:
            return cls._read_standard(headers["forwarded"])
        return cls(
            _listed(headers, "x-forwarded-for"),
            _scheme(_listed(headers, "x-forwarded-proto")),
            _host(_listed(headers, "x-forwarded-host")),
        )

    @classmethod
    def _read_standard(cls, said: str) -> Forwarded:
        parameters: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
        at = 0
        while at < len(said):
            found = PARAMETER.match(said, at)
            if found is None:
                return cls(("unknown",))  # somebody was named, in words that nobody can read
            value = re.sub(r"\\(.)", r"\1", found["quoted"]) if found["quoted"] is not None else found["token"]
            parameters.setdefault(found["name"].lower(), []).append(value)
            at = found.end()
        return cls(parameters["for"], _scheme(parameters["proto"]), _host(parameters["host"]))


def _listed(headers: Mapping[str, str], name: str) -> list[str]:
    return [each.strip() for each in headers[name].split(",")] if name in headers else []


def _scheme(said: Sequence[str]) -> str:
    """The scheme: https, if any of several proxies says so, since one of them ends TLS."""
    schemes = {each.lower() for each in said} & {"http", "https"}
    return max(schemes, default="")


def _host(said: Sequence[str]) -> str:
    """The last that is one: a proxy adds its own at the end, if it does not replace what its client sent."""
    return next((each for each in reversed(said) if HOST.fullmatch(each)), "")
