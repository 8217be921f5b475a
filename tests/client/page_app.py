"""An app for the tests in test_page_life.py. Its page joins a room with the options in its query, and logs the browser
events that it receives."""

from __future__ import annotations

import edge
from tests.small_rooms import Say


@edge.event("said")
class Said:
    number: int
    text: str


class Echo(edge.Room[Say, Said]):
    seats = edge.Seats(maximum=50, grace=60)

    def greet(self, player: edge.Player[Say, Said]) -> None:
        player.send(Said(player.number, "hello"))

    async def run(self) -> None:
        async for player, say in self.listen(Say):
            self.broadcast(Said(player.number, say.text))


app = edge.App({"echo": Echo})

PAGE = """<!doctype html><title>page</title><link rel="icon" href="data:,"><script type="module">
import { join } from "./edge.js";

const sent = WebSocket.prototype.send;
WebSocket.prototype.send = function (frame) {
  log.push(JSON.parse(frame)[0]);
  return sent.call(this, frame);
};
const query = new URLSearchParams(location.search);
window.log = [];
window.said = [];
const room = window.room = join(`rooms/echo/${query.get("room")}`, { session: query.get("session") ?? "browser" });
room.on("$status", (state) => log.push(state));
room.on("$welcome", ({ resumed, why }) => log.push(resumed ? "resumed" : why));
room.on("said", ({ number, text }) => said.push(`${number}: ${text}`));
for (const event of ["pagehide", "pageshow", "online", "offline"]) {
  addEventListener(event, ({ persisted }) => log.push(`${event}${persisted ? " persisted" : ""}`));
}
for (const event of ["freeze", "resume", "visibilitychange"]) {
  document.addEventListener(event, () => log.push(event === "visibilitychange" ? document.visibilityState : event));
}
</script>"""


@app.route("/page")
async def page(request: edge.Request) -> edge.Response:
    return edge.Response(200, PAGE.encode(), "text/html; charset=utf-8")


@app.route("/other")
async def other(request: edge.Request) -> edge.Response:
    return edge.Response(200, b'<title>other</title><link rel="icon" href="data:,">', "text/html; charset=utf-8")


@app.route("/seats")
async def seats(request: edge.Request) -> edge.Response:
    """Return a JSON object that tells for each seat number of a room whether the seat is connected."""
    room = app.directory.find("echo", request.query["room"])
    players = room.players if room is not None else []
    return edge.json_response({str(player.number): player.connected for player in players})
