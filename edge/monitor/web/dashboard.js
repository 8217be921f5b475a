// @ts-check
import { join, recall, remember, RequestFailed } from "./edge.js";

/**
 * @typedef {{name: string, seated: number, away: number, maximum: number, locked: boolean, playing: boolean, server: string}} Line
 * @typedef {{name: string, here: boolean, rooms: number, seated: number, received: number, sent: number, crashes: number, draining: boolean}} Server
 * @typedef {{process: {cpu: number, memory_bytes: number, files: number}, requests: number, received: number, sent: number,
 *   crashes: number, refused: Record<string, number>, left: Record<string, number>, messages_refused: Record<string, number>,
 *   late: number[], late_bounds: number[], skipped: number, servers: Server[], rooms: Line[], more: number}} Overview
 * @typedef {{round_trip: number | null, waiting_frames: number, waiting_bytes: number, unacked: number}} Seat
 * @typedef {{number: number, name: string, session: string, guest: boolean, state: string, remaining: number | null, inbox: number, seat: Seat}} Player
 * @typedef {{name: string, age: number, maximum: number, locked: boolean, round: {players: number[], remaining: number | null} | null,
 *   turns: {number: number, remaining: number | null}[], players: Player[],
 *   documents: {name: string, seen: "whole" | "views" | "each", text: string}[]}} RoomStatistics
 */

const HISTORY = 90; // overviews in a chart; the server sends one a second
const QUIET_SECONDS = 3; // seconds without an overview after which the light turns red

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const tokenField = /** @type {HTMLInputElement} */ ($("token"));

/** @type {import("./edge.js").Room | null} */
let room = null;
let watched = "";
let heardAt = 0;
/** @type {{at: number, overview: Overview}[]} */
let history = [];

$("door").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const headers = { authorization: `Bearer ${tokenField.value}` };
  const response = await fetch("enter", { method: "POST", headers }).catch(() => null);
  if (response === null) {
    $("complaint").textContent = "The server does not answer.";
    return;
  }
  if (!response.ok) {
    $("complaint").textContent = response.status === 401 ? "The token is wrong." : `The server responded with status ${response.status}.`;
    return;
  }
  tokenField.value = "";
  const { key } = await response.json();
  remember("sessionStorage", "key", key);
  enter(key);
});
// Enabled only now: without the listener, submitting the form would reload the page.
/** @type {HTMLButtonElement} */ ($("door").querySelector("button")).disabled = false;

/** @param {string} key */
function enter(key) {
  room = join("rooms/edge-monitor/main", { key });
  room.on("$status", (state) => {
    if (state === "open") document.body.dataset.view = "dashboard";
    if (state !== "closed") return;
    remember("sessionStorage", "key", "");
    document.body.dataset.view = "door";
    $("complaint").textContent = room?.ending?.reason ?? "";
  });
  room.on("$welcome", () => { if (watched) watch(watched); });
  room.on("overview", showOverview);
  room.on("room", ({ room: shown }) => showRoom(shown));
}

/** @param {Overview} overview */
function showOverview(overview) {
  heardAt = performance.now();
  history = [...history, { at: heardAt, overview }].slice(-HISTORY);
  const players = overview.rooms.reduce((sum, line) => sum + line.seated, 0);
  terms("totals", {
    rooms: overview.rooms.length + overview.more, seats: players, crashes: overview.crashes, "ticks skipped": overview.skipped,
    files: overview.process.files,
  });
  chart("requests / s", rate((each) => each.requests), (value) => value.toFixed(value < 10 ? 1 : 0));
  chart("events in / s", rate((each) => each.received), (value) => value.toFixed(0));
  chart("events out / s", rate((each) => each.sent), (value) => value.toFixed(0));
  chart("CPU", history.map((each) => 100 * each.overview.process.cpu), (value) => `${value.toFixed(0)} %`, 100);
  chart("memory", history.map((each) => each.overview.process.memory_bytes / 2 ** 20), (value) => `${value.toFixed(0)} MiB`);
  $("count").textContent = overview.more > 0 ? `and ${overview.more} more` : "";
  showServers(overview.servers);
  showRooms(overview.rooms);
  terms("refused", overview.refused);
  terms("left", overview.left);
  terms("messages", overview.messages_refused);
  showLate(overview);
}

/** The growth of a count, per second. @param {(overview: Overview) => number} count */
function rate(count) {
  return history.slice(1).map(({ at, overview }, index) => (
    (count(overview) - count(history[index].overview)) / Math.max(0.1, (at - history[index].at) / 1000)
  ));
}

/** @param {string} id @param {Record<string, number>} values */
function terms(id, values) {
  $(id).replaceChildren(...Object.entries(values).sort(([, one], [, other]) => other - one).map(([name, value]) => {
    const [line, term, description] = ["div", "dt", "dd"].map((kind) => document.createElement(kind));
    term.textContent = name.replaceAll("_", " ");
    description.textContent = String(value);
    line.append(term, description);
    return line;
  }));
}

/** @param {string} name @param {number[]} values @param {(value: number) => string} show @param {number} [top] */
function chart(name, values, show, top = 0) {
  let figure = $("charts").querySelector(`[data-name="${name}"]`);
  if (figure === null) {
    figure = document.createElement("figure");
    figure.setAttribute("data-name", name);
    figure.innerHTML = '<figcaption></figcaption><b></b><svg viewBox="0 0 100 30" preserveAspectRatio="none"><path class="area"/><path class="line"/></svg>';
    $("charts").append(figure);
  }
  const highest = Math.max(top, ...values, 1e-9);
  const points = values.map((value, index) => `${(index + HISTORY - values.length) * 100 / (HISTORY - 1)} ${29 - 27 * value / highest}`);
  /** @type {HTMLElement} */ (figure.querySelector("figcaption")).textContent = name;
  /** @type {HTMLElement} */ (figure.querySelector("b")).textContent = values.length > 0 ? show(values[values.length - 1]) : "–";
  const first = (HISTORY - values.length) * 100 / (HISTORY - 1);
  figure.querySelector(".line")?.setAttribute("d", points.length > 0 ? `M${points.join("L")}` : "");
  figure.querySelector(".area")?.setAttribute("d", points.length > 0 ? `M${first} 30L${points.join("L")}L100 30Z` : "");
}

/** @param {Overview} overview */
function showLate({ late, late_bounds }) {
  const most = Math.max(1, ...late);
  $("late").replaceChildren(...late.map((count, index) => {
    const bar = document.createElement("i");
    bar.style.height = `${100 * Math.log1p(count) / Math.log1p(most)}%`;
    bar.title = `${count} ${index < late_bounds.length ? `up to ${late_bounds[index] * 1000} ms` : "later"}`;
    return bar;
  }));
}

/**
 * Give a parent one child for each item. Existing elements are reused, so that clicks and the focus are not lost.
 * @template T
 * @param {Element} parent @param {T[]} items @param {(item: T) => string} key @param {(item: T) => HTMLElement} make
 * @param {(element: HTMLElement, item: T) => void} update
 */
function keep(parent, items, key, make, update) {
  const before = new Map([...parent.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, /** @type {HTMLElement} */ (child)]));
  const after = items.map((item) => {
    const element = before.get(key(item)) ?? make(item);
    element.dataset.key = key(item);
    update(element, item);
    return element;
  });
  for (const child of [...parent.children]) if (!after.includes(/** @type {HTMLElement} */ (child))) child.remove();
  after.forEach((element, index) => { if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null); });
}

/** @param {HTMLElement} parent @param {string} selector @param {string} text */
function write(parent, selector, text) {
  const element = /** @type {HTMLElement} */ (parent.querySelector(selector));
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Server[]} servers */
function showServers(servers) {
  $("servers").hidden = servers.length === 0;
  keep(/** @type {HTMLElement} */ ($("servers").querySelector("tbody")), servers, (server) => server.name, () => {
    const row = document.createElement("tr");
    row.innerHTML = "<td></td><td></td><td></td><td></td><td></td>";
    return row;
  }, (row, server) => {
    row.classList.toggle("watched", server.here);
    write(row, "td:nth-child(1)", server.name);
    write(row, "td:nth-child(2)", String(server.rooms));
    write(row, "td:nth-child(3)", String(server.seated));
    write(row, "td:nth-child(4)", `${server.received} / ${server.sent}`);
    write(row, "td:nth-child(5)", [server.here && "this one", server.draining && "draining", server.crashes > 0 && `${server.crashes} crashes`].filter(Boolean).join(", "));
  });
}

/** @param {Line[]} lines */
function showRooms(lines) {
  keep(/** @type {HTMLElement} */ ($("rooms").querySelector("tbody")), lines, (line) => line.name, ({ name }) => {
    const row = document.createElement("tr");
    row.innerHTML = "<td><button></button></td><td></td><td></td><td></td>";
    row.querySelector("button")?.addEventListener("click", () => watch(name));
    return row;
  }, (row, line) => {
    row.classList.toggle("watched", line.name === watched);
    write(row, "button", line.name);
    write(row, "td:nth-child(2)", `${line.seated} / ${line.maximum}`);
    write(row, "td:nth-child(3)", String(line.away || ""));
    write(row, "td:nth-child(4)", [line.playing && "round", line.locked && "locked", line.server && `on ${line.server}`].filter(Boolean).join(", "));
  });
}

/** @param {string} name */
function watch(name) {
  watched = name;
  $("said").textContent = "";
  room?.send("watch", { room: name }, { delivery: "latest" });
}

/** @param {RoomStatistics | null} shown */
function showRoom(shown) {
  if (shown !== null && shown.name !== watched) return; // an update of the room that was watched before
  $("room").hidden = false;
  $("room-name").textContent = watched;
  /** @type {HTMLButtonElement} */ ($("close")).disabled = shown === null;
  /** @type {HTMLButtonElement} */ ($("end-round")).disabled = !shown?.round;
  $("age").textContent = shown === null ? "this room is closed" : `open for ${duration(shown.age)}${shown.locked ? ", locked" : ""}`;
  const playing = new Set(shown?.round?.players ?? []);
  $("round").hidden = !shown?.round;
  $("round-left").textContent = `round${left(shown?.round?.remaining ?? null)}`;
  const secret = { whole: "", views: "each player sees a view of it", each: "each player has one of its own" };
  keep($("documents"), shown?.documents ?? [], ({ name }) => name, () => {
    const line = document.createElement("li");
    line.innerHTML = "<b></b> <span></span><pre></pre>";
    return line;
  }, (line, { name, seen, text }) => {
    write(line, "b", name);
    write(line, "span", secret[seen]);
    write(line, "pre", text);
  });
  const players = shown?.players ?? [];
  for (const [id, among] of [["playing", true], ["watching", false]]) {
    const here = players.filter(({ number }) => playing.has(number) === among);
    keep($(String(id)), here, ({ number, session }) => `${number} ${session}`, makePlayer, (line, player) => showPlayer(line, player, shown));
  }
}

/** @param {Player} player */
function makePlayer({ number }) {
  const line = document.createElement("li");
  line.innerHTML = "<b></b><span></span><button>Kick</button><ul></ul>";
  line.querySelector("button")?.addEventListener("click", () => act("kick", { room: watched, number }));
  return line;
}

/** @param {HTMLElement} line @param {Player} player @param {RoomStatistics | null} shown */
function showPlayer(line, player, shown) {
  const trip = player.seat.round_trip === null ? "" : ` · ${(player.seat.round_trip * 1000).toFixed(0)} ms`;
  const waits = [
    player.seat.waiting_frames && `${player.seat.waiting_frames} to write`, player.seat.unacked && `${player.seat.unacked} unacked`,
    player.inbox && `${player.inbox} in the inbox`,
  ].filter(Boolean).join(", ");
  const guest = player.guest ? " · guest" : "";
  const away = player.state === "here" ? "" : ` · ${player.state}${left(player.remaining)}`;
  write(line, "b", `${player.number} ${player.name}`);
  write(line, "span", `${guest}${away}${trip}${waits ? ` · ${waits}` : ""}`);
  const turns = shown?.turns.filter(({ number }) => number === player.number) ?? [];
  keep(/** @type {HTMLElement} */ (line.querySelector("ul")), turns.map((turn, index) => ({ ...turn, index })), ({ index }) => String(index),
    () => document.createElement("li"), (each, { remaining }) => { each.textContent = `turn${left(remaining)}`; });
}

/** @param {number | null} seconds */
function left(seconds) {
  return seconds === null ? "" : ` · ${duration(seconds)} left`;
}

/** @param {number} seconds */
function duration(seconds) {
  const whole = Math.round(seconds);
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** @param {string} name @param {object} body */
async function act(name, body) {
  try {
    const answer = await room?.request(name, body, { seconds: 5 });
    $("said").textContent = answer?.body.text ?? "";
  } catch (error) {
    $("said").textContent = error instanceof RequestFailed ? error.message : String(error);
  }
}

$("end-round").addEventListener("click", () => act("end:round", { room: watched }));
$("close").addEventListener("click", () => act("close", { room: watched }));

setInterval(() => {
  const quiet = performance.now() - heardAt > QUIET_SECONDS * 1000;
  $("light").dataset.state = quiet ? "quiet" : room?.status ?? "closed";
}, 200);

const key = recall("sessionStorage", "key");
if (key) enter(key);
