// @ts-check
import { join, recall, remember } from "./edge.js";
import { drawFigure, drawStrokes, PALETTE, Pen, STRIP, WIDTH } from "./pen.js";

/** @import { Drawing, Part, Scene, Sitter, YourTurn } from "../rooms" */

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {import("./edge.js").Room<Drawing> | null} */
let room = null;
const nameField = /** @type {HTMLInputElement} */ ($("name"));
const closedDialog = /** @type {HTMLDialogElement} */ ($("closed"));
const figureCanvas = /** @type {HTMLCanvasElement} */ ($("figure"));
/** @type {Scene | null} */
let scene = null;
let myTurn = false;
const pen = new Pen(/** @type {HTMLCanvasElement} */ ($("canvas")), (stroke) => room?.send("drew", { stroke }));

// --- the entrance

$("enter").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const name = nameField.value.trim();
  if (!name) return;
  remember("localStorage", "name", name);
  const table = location.hash.slice(1) || (await freeTable());
  enter(table, name);
});
nameField.value ||= recall("localStorage", "name"); // keep a name that the player has already typed
/** @type {HTMLButtonElement} */ (document.querySelector("#enter button")).disabled = false; // the HTML disables the button, because no code handles a click before this line
addEventListener("pagehide", () => pen.finishStroke()); // send the unfinished stroke: events that are sent while the page closes still reach the server

async function freeTable() {
  return (await (await fetch("lobby")).json()).room;
}

/** @param {string} table @param {string} name */
function enter(table, name) {
  $("complaint").textContent = "Sitting down…";
  $("complaint").dataset.calm = "";
  // each tab is a player of its own, so that one person can try the game in several tabs
  room = join(`rooms/drawing/${encodeURIComponent(table)}`, { name, session: "tab" });
  room.on("$status", showState);
  room.on("$welcome", () => {
    location.hash = table;
    remember("sessionStorage", "table", table);
    $("complaint").textContent = "";
    $("room").textContent = table;
    document.body.dataset.view = "table";
  });
  room.watch((state) => state.scene, showScene);
  room.on("your:turn", beginTurn);
}

/** @param {string} state */
function showState(state) {
  $("light").dataset.state = state;
  if (state === "away") $("detail").textContent = "Connection lost. Coming back…";
  if (state !== "closed" || room?.ending == null || room.ending.code === 4200) return;
  const { code, reason } = room.ending;
  remember("sessionStorage", "table", "");
  if (document.body.dataset.view === "door" && code === 4213) {
    $("complaint").textContent = `Sorry, ${reason}.`;
    delete $("complaint").dataset.calm;
    return;
  }
  /** @type {Record<number, string>} */
  const titles = { 4210: "This table is full", 4220: "You are playing in another window" };
  $("why").textContent = titles[code] ?? "The table has closed";
  $("reason").textContent = reason;
  closedDialog.showModal();
}

$("again").addEventListener("click", async () => {
  closedDialog.close();
  enter(await freeTable(), recall("localStorage", "name"));
});
$("leave").addEventListener("click", () => {
  room?.leave();
  remember("sessionStorage", "table", "");
  history.replaceState(null, "", location.pathname);
  document.body.dataset.view = "door";
});
$("share").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(location.href);
  $("share").textContent = "Copied";
  setTimeout(() => { $("share").textContent = "Copy link"; }, 1500);
});

// --- the table

/** @param {Scene} newest */
function showScene(newest) {
  scene = newest;
  const drawer = scene.players.find((player) => player.state === "drawing");
  myTurn = scene.phase === "drawing" && drawer?.number === room?.number;
  if (!myTurn) pen.lock();
  $("players").replaceChildren(...scene.players.map(sitterChip));
  $("stage").dataset.phase = scene.phase;
  const [headline, detail] = caption(scene, drawer);
  $("headline").textContent = headline;
  $("detail").textContent = detail;
  $("start").hidden = scene.phase !== "gathering";
  $("paper").hidden = $("tools").hidden = !myTurn;
  $("idle").hidden = myTurn || scene.phase === "revealed";
  const unfolding = scene.phase === "revealed" && scene.figure.length > 0;
  if (unfolding && $("unfolded").hidden) showFigure(scene.figure);
  $("unfolded").hidden = !unfolding;
}

/** @param {Scene} scene @param {Sitter | undefined} drawer @returns {[string, string]} */
function caption(scene, drawer) {
  const watching = scene.players.some((player) => player.number === room?.number && player.state === "watching");
  switch (scene.phase) {
    case "waiting": return ["Waiting for one more", "Send a friend the link to this table."];
    case "gathering": return ["Sharpen your pencils", `${scene.players.length} at the table. Room for ${4 - scene.players.length} more.`];
    case "revealed": return ["Unfolded!", "A new round begins soon."];
    case "drawing":
      if (myTurn) return [`Draw the ${drawer?.part}`, drawer?.part === "head" ? "Let some lines run off the bottom." : "Join the lines from above."];
      if (drawer && !drawer.connected) return [`${drawer.name} lost the connection`, "Waiting for them to come back…"];
      return [`${drawer?.name} draws the ${drawer?.part}`, watching ? "You can draw in the next round." : "No peeking."];
  }
}

/** @param {Sitter} sitter */
function sitterChip({ number, name, connected, part, state }) {
  const chip = document.createElement("li");
  chip.dataset.state = state;
  chip.classList.toggle("me", number === room?.number);
  chip.classList.toggle("away", !connected);
  chip.style.setProperty("--c", PALETTE[[1, 5, 4, 6][number % 4]]);
  /** @type {Record<string, string>} */
  const marks = { done: "✓", timeout: "⏱", left: "–", drawing: "✎" };
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.textContent = marks[state] ?? name.slice(0, 1).toUpperCase();
  const small = document.createElement("small");
  small.textContent = part;
  chip.append(mark, name, small);
  return chip;
}

// --- my turn

/** @param {YourTurn} turn */
function beginTurn({ part, edge, strokes }) {
  $("strip").hidden = part === "head";
  const canvas = /** @type {HTMLCanvasElement} */ ($("edge"));
  [canvas.width, canvas.height] = [WIDTH, STRIP];
  drawStrokes(/** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), edge);
  pen.unlock(strokes);
}

$("start").addEventListener("click", () => room?.send("start"));
$("undo").addEventListener("click", () => { if (pen.undo()) room?.send("undid"); });
$("done").addEventListener("click", () => {
  pen.finishStroke();
  pen.lock();
  room?.send("turn:done");
});

const WIDTHS = [6, 14, 32];
const [color = 0, width = 1] = recall("sessionStorage", "pen").split(" ").filter(Boolean).map(Number); // a reloaded page keeps its pen
/** @param {number} color @param {number} width the index in WIDTHS */
function take(color, width) {
  [pen.color, pen.width] = [color, WIDTHS[width]];
  remember("sessionStorage", "pen", `${color} ${width}`);
}
take(color, width);
$("colors").append(...PALETTE.map((shade, index) => choice("swatch", `Colour ${index + 1}`, "--c", shade, index === color,
  () => take(index, WIDTHS.indexOf(pen.width)))));
$("widths").append(...WIDTHS.map((wide, index) => choice("nib", ["Fine", "Medium", "Broad"][index], "--w", `${5 + wide / 2}px`, index === width,
  () => take(pen.color, index))));

/** @param {string} kind @param {string} label @param {string} property @param {string} value @param {boolean} pressed @param {() => void} choose */
function choice(kind, label, property, value, pressed, choose) {
  const button = document.createElement("button");
  button.className = kind;
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-pressed", String(pressed));
  button.style.setProperty(property, value);
  button.addEventListener("click", () => {
    for (const other of button.parentElement?.children ?? []) other.setAttribute("aria-pressed", String(other === button));
    choose();
  });
  return button;
}

// --- the figure

/** @param {readonly Part[]} figure */
function showFigure(figure) {
  drawFigure(figureCanvas, figure.map(({ strokes }) => strokes));
  $("credits").textContent = figure.map(({ name, by }) => `${name}: ${by}`).join("  ·  ");
}

$("save").addEventListener("click", () => {
  figureCanvas.toBlob((blob) => {
    if (blob === null) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "exquisite-corpse.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
});

// --- the clock

setInterval(() => {
  const clock = /** @type {HTMLElement} */ (document.querySelector(".clock"));
  clock.hidden = !scene?.of_seconds;
  if (!scene?.of_seconds) return;
  const left = Math.max(0, scene.until - (room?.now() ?? 0));
  $("seconds").textContent = String(Math.ceil(left));
  clock.classList.toggle("hurry", left < 10 && scene.phase === "drawing");
  const ring = /** @type {SVGElement} */ (clock.querySelector(".left"));
  ring.style.strokeDashoffset = String(100 * (1 - left / scene.of_seconds));
  if (myTurn && left < 0.4) pen.finishStroke(); // send an unfinished stroke before the turn ends
}, 100);

// --- a reloaded page joins again, and gets its seat back

const table = recall("sessionStorage", "table");
if (table && table === location.hash.slice(1)) enter(table, nameField.value);
