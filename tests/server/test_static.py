"""Static files: ranges, files that change, and the memory and time that a download takes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

import edge
from edge.transports.http.http import HttpConnection, Response
from tests.server.test_serve import Served, serving

KIB = 1024
DATA = bytes(range(256)) * 1000


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    (tmp_path / "data.bin").write_bytes(DATA)
    (tmp_path / "empty.txt").write_bytes(b"")
    async with serving(edge.App({}, static={"/": tmp_path})) as served:
        yield served


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=255990-", 206, 255_990, 256_000),
        ("bytes=255990-999999", 206, 255_990, 256_000),
        ("bytes=-10", 206, 255_990, 256_000),
        ("bytes=-999999", 206, 0, 256_000),
        ("bytes=256000-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=20-10", 200, 0, 256_000),
        ("bytes=-", 200, 0, 256_000),
        ("bytes=0-1,3-4", 200, 0, 256_000),
        ("lines=0-1", 200, 0, 256_000),
        (f"bytes={'9' * 400}-", 200, 0, 256_000),
    ],
)
async def test_ranges(served: Served, asked: str, status: int, start: int, end: int) -> None:
    """A request for one range gets this part of the file, or 416 if the range is outside the file. A request for
    several ranges, or with an invalid range, gets the whole file."""
    found, headers, body = await served.get("/data.bin", f"Range: {asked}\n")
    assert found == status
    if status == 416:
        assert headers["content-range"] == "bytes */256000"
        return
    assert body == DATA[start:end]
    assert headers["content-length"] == str(end - start)
    assert headers.get("content-range") == (f"bytes {start}-{end - 1}/256000" if status == 206 else None)
    assert headers["accept-ranges"] == "bytes"


@pytest.mark.real_time
async def test_a_range_of_a_file_that_has_changed(served: Served) -> None:
    """If the tag in If-Range differs from the tag of the current file, the whole file is sent."""
    _, headers, _ = await served.get("/data.bin")
    same, other = f"Range: bytes=0-9\nIf-Range: {headers['etag']}\n", 'Range: bytes=0-9\nIf-Range: "x"\n'
    assert (await served.get("/data.bin", same))[0] == 206
    assert (await served.get("/data.bin", other))[0] == 200
    assert (await served.get("/data.bin", f"If-None-Match: {headers['etag']}\n"))[0] == 304


@pytest.mark.real_time
async def test_head_and_nothing(served: Served) -> None:
    """The response to HEAD has the length of the file and no body. An empty file is served."""
    answer = await served.http("HEAD /data.bin HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert b"content-length: 256000" in answer
    assert answer.endswith(b"\r\n\r\n")
    assert (await served.get("/empty.txt"))[::2] == (200, b"")


@pytest.mark.real_time
async def test_files_that_nobody_reads_take_no_memory(tmp_path: Path) -> None:
    """Thirty GET and thirty HEAD requests for a large file, whose clients do not read, take less than 200 KiB of memory
    each, and do not delay other files."""
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(20 * KIB * KIB)
    (tmp_path / "small.txt").write_text("hi")
    async with serving(edge.App({}, static={"/": tmp_path})) as served, AsyncExitStack() as stack:
        tracemalloc.start()
        try:
            for method in ("GET", "HEAD"):
                for _ in range(30):
                    stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", served.port))
                    await stream.send_all(f"{method} /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    await stream.receive_some(1)
            assert (await served.get("/small.txt"))[2] == b"hi"
            assert tracemalloc.get_traced_memory()[1] < 60 * 200 * KIB
        finally:
            tracemalloc.stop()
        served.drain.set()


@pytest.mark.real_time
@pytest.mark.parametrize("change", ["shorter", "longer", "replaced", "deleted"])
async def test_a_file_that_changes_while_it_is_sent(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If a file changes while it is sent, the response is cut off and has no bytes of the new file. The log has one
    line about the change."""
    path, other = tmp_path / "large.bin", tmp_path / "other.bin"
    path.write_bytes(bytes(20 * KIB * KIB))
    async with serving(edge.App({}, static={"/": tmp_path})) as served:
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = len(await stream.receive_some(1000))
            other.write_bytes(b"x" * 20 * KIB * KIB)
            if change == "replaced":
                other.replace(path)
            elif change == "deleted":
                path.unlink()
            else:
                os.truncate(path, KIB if change == "shorter" else 21 * KIB * KIB)
            with suppress(trio.BrokenResourceError):
                while data := await stream.receive_some():
                    assert b"x" not in data
                    received += len(data)
        assert received < 20 * KIB * KIB
        assert (await served.get("/other.bin" if change != "replaced" else "/large.bin"))[0] == 200
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].exc_info is None


@pytest.mark.real_time
async def test_links_in_a_loop_and_files_that_may_not_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests for circular links, and for files that can't be read, are answered with 404, and not logged."""
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    os.mkfifo(tmp_path / "pipe")
    async with serving(edge.App({}, static={"/": tmp_path, "/loop": tmp_path / "one"})) as served:
        for path in ("/one", "/two/deeper", "/self", "/loop/", "/loop/file", "/pipe", "/" + "x" * 5000):
            assert (await served.get(path))[0] == 404, path
    assert not caplog.records


async def test_a_response_has_a_deadline() -> None:
    """The total deadline of a response ends the response, even if the client reads each part in time."""
    client, server = trio.testing.memory_stream_pair()
    connection = HttpConnection(_Slow(server.receive_stream))
    await client.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await connection.next_request(idle=1, seconds=1)
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError, match="too long"):
        await connection.respond(Response(200, bytes(1024 * KIB)))
    assert trio.current_time() - began == 60 + 1024 / 16


class _Slow(trio.abc.Stream):
    """A stream on which each write takes nine seconds."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(9)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self._stream.aclose()
