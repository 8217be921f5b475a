"""Tests of the drawing game on several servers. Each player connects to a different server, and the table's server dies
during a turn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from playwright.sync_api import Browser, expect

from edge.cluster.broker.broker import Stamp
from edge.cluster.broker.redis import RedisBroker
from edge.protocol.codec import MESSAGEPACK
from tests.browser import GET_CHROMIUM, PHONE, ROOT, chromium
from tests.cluster.broker.redis_server import RedisServer, redis_server
from tests.examples.test_drawing_browser import BLUE, GREEN, INK, RED, Player, near

# The maximum time until a page is connected again, in milliseconds. A lease must expire, and a few attempts may fail.
AGAIN_MILLISECONDS = 20_000


class Server:
    """One server, on its own port."""

    def __init__(self, broker: str, *options: str) -> None:
        self._command = [sys.executable, "-m", "edge.cli", "run", "examples.drawing:app", "--broker", broker, *options]
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start the server, on its previous port if it was started before."""
        port = re.sub(r"\D", "", self.url.rpartition(":")[2]) or "0"
        environment = {**os.environ, "EDGE_SECRET": "a secret of all these servers"}
        command = [*self._command, "--port", port]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found is not None
        self.url = found[0]

    def kill(self) -> None:
        """Kill the server, as if its machine died."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def servers(redis: RedisServer, count: int, *options: str) -> Iterator[list[Server]]:
    """Run this number of servers until the block ends. Then check that they end without an error."""
    trio.run(redis.wait_up, 3)
    started = [Server(redis.url, *options) for _ in range(count)]
    try:
        yield started
    finally:
        for server in started:
            server.process.terminate()
        for server in started:
            server.process.communicate(timeout=20)
    assert [server.process.returncode for server in started] == [0] * count


def owner_pid(redis: RedisServer) -> int:
    """Return the process id of the server (or worker) that has the table."""

    async def ask() -> int:
        broker = RedisBroker(redis.url)
        async with broker.open():
            (lease,) = [lease for lease in await broker.leases() if lease.seconds > 0]
            said = (await broker.renew("an observer", Stamp(1, 1), b"\x80")).servers[lease.server]
            await broker.leave("an observer")
            return int(MESSAGEPACK.decode(said)["pid"])

    return trio.run(ask)


def at_table(server: Server, table: str) -> str:
    """Return the address of a table at another server."""
    return server.url.rstrip("/") + "/" + table.split("/", 3)[3]


def begin(browser: Browser, one: Server, two: Server, three: Server) -> tuple[Player, Player, Player]:
    """Let three players join one table, through one server each, and draw a line in the first player's turn."""
    ana = Player(browser, one.url)
    ana.enter("Ana")
    ana.headline("Waiting for one more")
    ben, cyn = Player(browser, at_table(two, ana.page.url)), Player(browser, at_table(three, ana.page.url), PHONE)
    ben.enter("Ben")
    cyn.enter("Cyn")
    expect(cyn.page.locator("#players li")).to_have_count(3)
    cyn.page.click("#start")
    ana.expect_turn("head")
    ana.draw(RED, (0.5, 0.3), (0.5, 1.0))
    return ana, ben, cyn


def finish(ana: Player, ben: Player, cyn: Player) -> None:
    """Play the rest of the round, and check that each player's saved figure has all strokes."""
    ana.page.click("#done")
    ben.expect_turn("body")
    ben.draw(GREEN, (0.2, 0.5), (0.8, 0.5))
    ben.page.click("#done")
    cyn.expect_turn("legs")
    cyn.draw(INK, (0.5, 0.1), (0.5, 0.9))
    cyn.page.click("#done")
    for tab in (ana, ben, cyn):
        tab.headline("Unfolded!")
        picture = tab.saved_picture()
        assert near(picture, (500, 500), RED), "the line that was drawn before the server died"
        assert near(picture, (200, 150), BLUE), "the line that was drawn after the server died"
        assert near(picture, (400, 750 + 375), GREEN)
        assert near(picture, (500, 1500 + 375), INK)


def test_players_at_three_servers_one_of_which_dies(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """If the table's server is killed during a turn, the table continues at another server, with all strokes."""
    with (
        redis_server(program, tmp_path) as redis,
        servers(redis, 3) as (one, two, three),
        chromium(program("chromium", GET_CHROMIUM)) as browser,
    ):
        ana, ben, cyn = begin(browser, one, two, three)
        killed = one.process.pid
        assert owner_pid(redis) == killed
        ben.screenshot("servers-watching-desktop")
        one.kill()
        ana.light("away")
        ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
        one.start()
        for tab in (ana, ben, cyn):
            expect(tab.page.locator("#light")).to_have_attribute("data-state", "open", timeout=AGAIN_MILLISECONDS)
        assert owner_pid(redis) != killed
        ana.screenshot("servers-drawing-desktop")
        cyn.screenshot("servers-watching-phone")
        finish(ana, ben, cyn)


def test_workers_one_of_which_dies(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """If the worker with the table is killed, the table continues at another worker on the same port."""
    with (
        redis_server(program, tmp_path) as redis,
        servers(redis, 1, "--workers", "3") as (crew,),
        chromium(program("chromium", GET_CHROMIUM)) as browser,
    ):
        ana, ben, cyn = begin(browser, crew, crew, crew)
        os.kill(owner_pid(redis), 9)
        ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
        ana.page.wait_for_timeout(4000)  # by then, the lease of the killed worker has expired
        for tab in (ana, ben, cyn):
            expect(tab.page.locator("#light")).to_have_attribute("data-state", "open", timeout=AGAIN_MILLISECONDS)
        finish(ana, ben, cyn)
