"""The server serves the files of edge.js with entity tags, and compressed if the client accepts gzip."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import pytest

import edge
from edge.server.client_files import AS_MODULES, BUILT, ENTRIES, MODULES, accepts_gzip
from edge.server.static import matches_tag
from tests.server.test_serve import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(edge.App({})) as served:
        yield served


@pytest.mark.real_time
@pytest.mark.parametrize("path", ENTRIES)
async def test_files(served: Served, path: str) -> None:
    """Each file is served as it was built, compressed if the client accepts gzip, and with 304 if the client has the
    same version."""
    built = (BUILT / path[1:]).read_bytes()
    status, headers, body = await served.get(path)
    assert (status, body, "content-encoding" in headers) == (200, built, False)
    status, zipped, body = await served.get(path, "Accept-Encoding: br, gzip\n")
    assert (status, gzip.decompress(body), zipped["content-encoding"]) == (200, built, "gzip")
    assert headers["vary"] == zipped["vary"] == "accept-encoding"
    assert headers["cache-control"] == "no-cache"
    assert headers["etag"] != zipped["etag"]
    assert (await served.get(path, f"If-None-Match: {headers['etag']}\n"))[0] == 304
    assert (await served.get(path, f"If-None-Match: {zipped['etag']}\n"))[0] == 200
    assert (await served.get(path, f"Accept-Encoding: gzip\nIf-None-Match: W/{zipped['etag']}\n"))[0] == 304


@pytest.mark.real_time
async def test_source_map(served: Served) -> None:
    """Each file has a link to its source map, which contains the current modules."""
    for path in ENTRIES:
        _, _, body = await served.get(path)
        assert body.rstrip().endswith(f"//# sourceMappingURL={path[1:]}.map".encode())
        _, _, body = await served.get(path + ".map")
        read = json.loads(body)
        for source, text in zip(read["sources"], read["sourcesContent"], strict=True):
            assert (BUILT / source).read_text() == text


@pytest.mark.real_time
async def test_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """If EDGE_JS_MODULES is set, the server serves the modules instead of the built file."""
    monkeypatch.setenv(AS_MODULES, "1")
    app, other = edge.App({}), edge.App({})
    app.include("/play", other)
    async with serving(app) as served:
        for prefix in ("", "/play"):
            status, _, body = await served.get(f"{prefix}/edge.js")
            assert (status, body) == (200, b'export * from "./edge-js/edge.js";\n')
            status, headers, body = await served.get(f"{prefix}/edge-js/room.js")
            assert (status, body) == (200, (MODULES / "room.js").read_bytes())
            assert headers["content-type"].startswith("text/javascript")
            assert (await served.get(f"{prefix}/edge-js/none.js"))[0] == 404


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br", False),
        ("gzip;q=1.000", True),
        ("gzip;q=abc", False),
        ("gzip;q=-1", False),
        ("gzip;q=nan", False),
    ],
)
def test_accept_encoding(accepted: str, zipped: bool) -> None:
    """A client gets gzip if, and only if, its Accept-Encoding accepts gzip."""
    assert accepts_gzip(accepted) is zipped


def test_entity_tags() -> None:
    """`matches_tag` finds a tag in a list of tags, weak or not. A tag that differs or is malformed does not match."""
    for asked in ('"a"', 'W/"a"', '"b", "a"', '"b",W/"a"', "*"):
        assert matches_tag(asked, '"a"')
    for asked in ("", '"b"', "a", '"a', 'w/"a"'):
        assert not matches_tag(asked, '"a"')
