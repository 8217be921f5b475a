"""The headers in which proxies describe a request that they forward."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .hosts import HOST

# A parameter of the header `Forwarded`, and the separator after the parameter (RFC 7239 section 4). A ";" precedes the
# next parameter of the same proxy. A "," precedes the first parameter of the next proxy.
PARAMETER = re.compile(
    r"""\s* (?P<name>[\w!#$%&'*+.^`|~-]+) =
        (?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<token>[^\s;,"]*) )
        \s* (?:[;,]|$)""",
    re.VERBOSE,
)


@attrs.frozen
class Forwarded:
    """The client address, scheme and host that proxies report. Use it only for requests of trusted proxies."""

    addresses: Sequence[str] = ()
    """The reported addresses, unparsed. The last one was reported by the nearest proxy."""
    scheme: str = ""
    """``http`` or ``https``; empty if no proxy reports it."""
    host: str = ""
    """The host that the client requested; empty if no proxy reports it."""

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> Forwarded:
        """Read ``X-Forwarded-For``, ``-Proto`` and ``-Host``, or ``Forwarded`` if there is no ``X-Forwarded-For``.

        The two kinds of headers are never combined. A proxy that sets one kind forwards the other kind unchanged, so a
        client could forge the other kind. ``X-Forwarded-For`` is preferred because nearly all proxies set it.
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
                return cls(("unknown",))  # an address was reported, but the header cannot be parsed
            value = re.sub(r"\\(.)", r"\1", found["quoted"]) if found["quoted"] is not None else found["token"]
            parameters.setdefault(found["name"].lower(), []).append(value)
            at = found.end()
        return cls(parameters["for"], _scheme(parameters["proto"]), _host(parameters["host"]))


def _listed(headers: Mapping[str, str], name: str) -> list[str]:
    return [each.strip() for each in headers[name].split(",")] if name in headers else []


def _scheme(said: Sequence[str]) -> str:
    """Return the reported scheme: https if any proxy reports https, because the client then used TLS.

    The result is empty if no proxy reports a scheme.
    """
    schemes = {each.lower() for each in said} & {"http", "https"}
    return max(schemes, default="")


def _host(said: Sequence[str]) -> str:
    """Return the last valid host; empty if there is none.

    A client cannot forge the last host, because a proxy replaces the client's value or appends its own.
    """
    return next((each for each in reversed(said) if HOST.fullmatch(each)), "")
