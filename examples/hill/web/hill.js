// @ts-check
import { join, recall, remember } from "./edge.js";
import { Controls } from "./controls.js";
import { Game } from "./game.js";
import { colorOf, View } from "./view.js";

/** @import { Hill, Score } from "../rooms" */

const FIRST_BOARD = "main";

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {import("./edge.js").Room<Hill> | null} */
let room = null;
/** @type {Score | null} */
let score = null;
const nameField = /** @type {HTMLInputElement} */ ($("name"));
const closedDialog = /** @type {HTMLDialogElement} */ ($("closed"));
const canvas = /** @type {HTMLCanvasElement} */ ($("board"));
const view = new View(canvas);
const game = new Game(() => room?.now() ?? 0, () => {
  if (room !== null && room.status !== "closed") room.send("look");
});
const controls = new Controls(canvas, steer);

/** @param {number} x @param {number} y */
function steer(x, y) {
  if (room !== null && room.status !== "closed") room.send("steer", { plan: game.steer(x, y) }, { delivery: "latest" });
}

// --- the entrance

$("enter").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const name = nameField.value.trim();
  if (!name) return;
  remember("localStorage", "name", name);
  enter(location.hash.slice(1) || FIRST_BOARD, name);
});
nameField.value ||= recall("localStorage", "name"); // keep a name that the player has already typed
/** @type {HTMLButtonElement} */ (document.querySelector("#enter button")).disabled = false; // the HTML disables the button, because no code handles a click before this line

/** @param {string} board @param {string} name */
function enter(board, name) {
  $("complaint").textContent = "Connecting…";
  // each tab is a player of its own, so that one person can try the game in several tabs
  room = join(`rooms/hill/${encodeURIComponent(board)}`, { name, session: "tab" });
  room.on("$status", showState);
  room.on("$welcome", ({ number, resumed }) => {
    if (!resumed) game.begin(number);
    history.replaceState(null, "", board === FIRST_BOARD ? location.pathname : `#${board}`);
    remember("sessionStorage", "board", board);
    $("complaint").textContent = "";
    document.body.dataset.view = "game";
    if (!resumed) return;
    game.forgive();
    if (controls.x !== 0 || controls.y !== 0) steer(controls.x, controls.y); // the server set the force to zero while the connection was lost, so send it again
  });
  room.on("board", (board) => game.show(board));
  room.on("joined", (joined) => game.joined(joined));
  room.on("left", (left) => game.left(left));
  room.on("facts", (facts) => game.facts(facts));
  room.watch((state) => state.score, (newest) => { score = newest; showScore(newest); });
}

/** @param {string} state */
function showState(state) {
  $("light").dataset.state = state;
  $("away").hidden = state !== "away";
  if (state !== "closed" || room?.ending == null || room.ending.code === 4200) return;
  const { code, reason } = room.ending;
  remember("sessionStorage", "board", "");
  if (code === 4210 && document.body.dataset.view === "door") {
    const [, board, number] = /** @type {RegExpMatchArray} */ ((location.hash.slice(1) || FIRST_BOARD).match(/^(.*?)(?:-(\d+))?$/));
    history.replaceState(null, "", `#${board}-${Number(number ?? 1) + 1}`); // this room is full: try the next one
    enter(location.hash.slice(1), recall("localStorage", "name"));
    return;
  }
  if (document.body.dataset.view === "door") {
    $("complaint").textContent = `Sorry, ${reason}.`;
    return;
  }
  $("why").textContent = code === 4220 ? "You are playing in another window" : "The board has closed";
  $("reason").textContent = reason;
  closedDialog.showModal();
}

$("again").addEventListener("click", () => {
  closedDialog.close();
  enter(location.hash.slice(1) || FIRST_BOARD, recall("localStorage", "name"));
});
$("leave").addEventListener("click", () => {
  room?.leave();
  remember("sessionStorage", "board", "");
  document.body.dataset.view = "door";
});

// --- the score

/** @param {Score} score */
function showScore({ phase, points, winner, bots }) {
  const best = Object.entries(points).map(([number, count]) => [Number(number), count]);
  best.sort((one, other) => other[1] - one[1] || one[0] - other[0]);
  const shown = best.slice(0, 5);
  const mine = best.findIndex(([number]) => number === room?.number);
  if (mine >= 5) shown.push(best[mine]);
  $("score").replaceChildren(...shown.map(([number, count]) => {
    const line = document.createElement("li");
    line.classList.toggle("me", number === room?.number);
    line.style.setProperty("--c", colorOf(number));
    const [rank, name, total] = ["span", "b", "span"].map((kind) => document.createElement(kind));
    rank.textContent = String(best.findIndex(([other]) => other === number) + 1);
    name.textContent = game.names.get(number) ?? "";
    total.textContent = String(count);
    line.append(rank, name, total);
    return line;
  }));
  $("winner").hidden = phase !== "won" || winner === "";
  $("winner-name").textContent = winner;
  $("bots").textContent = String(bots);
}

// --- buttons

$("closer").addEventListener("click", () => view.zoomBy(1.4));
$("wider").addEventListener("click", () => view.zoomBy(1 / 1.4));
$("more-bots").addEventListener("click", () => room?.send("bots", { count: Math.min(30, (score?.bots ?? 0) + 1) }));
$("fewer-bots").addEventListener("click", () => room?.send("bots", { count: Math.max(0, (score?.bots ?? 0) - 1) }));
$("network").addEventListener("click", () => { $("figures").hidden = !$("figures").hidden; });
$("tilt").hidden = !isSecureContext || !("DeviceOrientationEvent" in globalThis); // browsers report the tilt only to pages in a secure context
$("tilt").addEventListener("click", async () => {
  const wanted = $("tilt").getAttribute("aria-pressed") !== "true";
  if (!wanted) controls.untilt();
  $("tilt").setAttribute("aria-pressed", String(wanted && (await controls.tilt(cannotTilt))));
});
function cannotTilt() {
  $("tilt").setAttribute("aria-pressed", "false");
  [$("hint").textContent, $("hint").hidden] = ["This device does not report its tilt", false];
}
if (matchMedia("(pointer: coarse)").matches) {
  view.zoom = 1.6;
  $("hint").textContent = "Drag anywhere to steer";
}

// --- the picture

let frameAt = performance.now();
/** @param {number} now */
function frame(now) {
  requestAnimationFrame(frame);
  const seconds = Math.max(0, now - frameAt) / 1000;
  frameAt = now;
  if (room !== null && room.status !== "closed" && document.body.dataset.view === "game") {
    view.draw(game.frame(seconds, room.roundTrip), game, seconds);
    drawStick();
    const left = Math.max(0, Math.ceil((score?.until ?? 0) - room.now()));
    $("clock").textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (!$("figures").hidden) showFigures();
  }
}
requestAnimationFrame(frame);

function drawStick() {
  const stick = controls.stick;
  $("stick").hidden = stick === null;
  if (stick !== null) $("hint").hidden = true; // the player has found the stick
  if (stick === null) return;
  $("stick").style.translate = `${stick.x}px ${stick.y}px`;
  const length = Math.max(1, Math.hypot(stick.toX - stick.x, stick.toY - stick.y) / 60);
  $("knob").style.translate = `${(stick.toX - stick.x) / length}px ${(stick.toY - stick.y) / length}px`;
}

function showFigures() {
  const figures = {
    "round trip": `${Math.round((room?.roundTrip ?? 0) * 1000)} ms`,
    ahead: `${Math.round(game.lead * 1000)} ms`,
    behind: `${Math.round(game.delay * 1000)} ms`,
    corrected: `${game.largest.toFixed(1)} units a frame at most`,
    "boards shown again": String(game.looks),
  };
  $("figures").textContent = Object.entries(figures).map(([name, value]) => `${name}: ${value}`).join("\n");
}

// --- a reloaded page joins again, and gets its seat back

const board = recall("sessionStorage", "board");
if (board && board === (location.hash.slice(1) || FIRST_BOARD)) enter(board, nameField.value);
