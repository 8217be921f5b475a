// @ts-check
// The page of the boards: a login, then one board at a time.
import { join } from "../edge.js";

const COLUMNS = { todo: "To do", doing: "Doing", done: "Done" };
const NAMES = /** @type {Column[]} */ (Object.keys(COLUMNS));
const COLORS = ["#2d5d53", "#a33b2a", "#2c5aa0", "#8a5a00", "#7a3b8f", "#4c6b1f"];
const POINTS_PER_SECOND = 15;

/** @import { Board, Card } from "../rooms" */
/** @typedef {Card["column"]} Column */

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const columns = $("columns");

/** @type {import("../edge.js").Room<Board> | null} */
let room = null;
/** What everybody at the board sees. @returns {Pick<Board["state"]["shown"], "cards" | "people">} */
const shown = () => room?.state.shown ?? { cards: {}, people: [] };

for (const [name, title] of /** @type {[Column, string][]} */ (Object.entries(COLUMNS))) {
  const column = $("column").content.cloneNode(true).firstElementChild;
  column.dataset.column = name;
  column.querySelector("h2").textContent = title;
  column.querySelector("form").addEventListener("submit", async (/** @type {any} */ event) => {
    event.preventDefault();
    const input = event.target.elements.text;
    const text = input.value.trim();
    if (text !== "" && await change("add", { column: name, text })) input.value = "";
  });
  const list = column.querySelector(".cards");
  column.addEventListener("dragover", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    list.classList.add("over");
  });
  column.addEventListener("dragleave", () => list.classList.remove("over"));
  column.addEventListener("drop", (/** @type {any} */ event) => {
    event.preventDefault();
    list.classList.remove("over");
    move(event.dataTransfer.getData("text/plain"), name, below(list, event.clientY));
  });
  columns.append(column);
}

/** Ask the board for a change. Returns false, and shows the reason, if the board refuses it. @template {keyof Board["sends"]} N @param {N} name @param {Board["sends"][N]} body */
async function change(name, body) {
  try {
    await room?.request(name, body);
    $("notice").hidden = true;
    return true;
  } catch (error) {
    $("notice").textContent = /** @type {Error} */ (error).message;
    $("notice").hidden = false;
    return false;
  }
}

/** The card of a list that is below a height of the window; null if none is. @param {HTMLElement} list @param {number} y */
function below(list, y) {
  return /** @type {HTMLElement[]} */ ([...list.children]).find((item) => y < item.getBoundingClientRect().top + item.offsetHeight / 2) ?? null;
}

/** Put a card into a column, before another card, or at its end. @param {string} id @param {Column} column @param {HTMLElement | null} before */
function move(id, column, before) {
  const others = inColumn(column).filter((card) => card.id !== id);
  const index = before === null ? others.length : others.findIndex((card) => card.id === before.dataset.id);
  const at = index < 0 ? others.length : index;
  const [low, high] = [others[at - 1]?.place ?? 0, others[at]?.place ?? (others.at(-1)?.place ?? 0) + 2];
  change("move", { id, column, place: (low + high) / 2 });
}

/** The cards of a column, in their order. @param {string} column */
function inColumn(column) {
  return Object.values(shown().cards).filter((card) => card.column === column).sort((one, other) => one.place - other.place);
}

/** Show the cards. An element that is in its place stays there, so that a text that is being edited keeps the focus. */
function draw() {
  /** @type {Map<string, any>} */
  const items = new Map([...columns.querySelectorAll(".card")].map((item) => [item.dataset.id, item]));
  for (const name of NAMES) {
    const list = columns.querySelector(`[data-column="${name}"] .cards`);
    inColumn(name).forEach((card, index) => {
      const item = filled(items.get(card.id) ?? element(card.id), card);
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
      items.delete(card.id);
    });
  }
  for (const item of items.values()) item.remove();
}

/** A new element for a card. @param {string} id */
function element(id) {
  const item = $("card").content.cloneNode(true).firstElementChild;
  item.dataset.id = id;
  item.addEventListener("dragstart", (/** @type {any} */ event) => event.dataTransfer.setData("text/plain", id));
  const text = item.querySelector(".text");
  text.addEventListener("click", () => edit(text, id));
  text.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter") edit(text, id);
  });
  /** @param {number} by */
  const step = (by) => {
    const column = NAMES[NAMES.indexOf(shown().cards[id]?.column) + by];
    if (column) move(id, column, null);
  };
  item.querySelector(".left").addEventListener("click", () => step(-1));
  item.querySelector(".right").addEventListener("click", () => step(1));
  item.querySelector(".remove").addEventListener("click", () => change("remove", { id }));
  return item;
}

/** @param {any} item @param {Card} card */
function filled(item, card) {
  const text = item.querySelector("p.text");
  if (text !== null) text.textContent = card.text; // there is none while this person edits the card
  item.querySelector(".by").textContent = card.by;
  item.querySelector(".left").disabled = card.column === NAMES[0];
  item.querySelector(".right").disabled = card.column === NAMES.at(-1);
  return item;
}

/** Let the person edit the text of a card, until Enter, Escape or a click elsewhere. @param {HTMLElement} text @param {string} id */
function edit(text, id) {
  const input = document.createElement("input");
  input.className = "text";
  input.maxLength = 300;
  input.value = shown().cards[id]?.text ?? "";
  let ended = false; // the removal of the input makes it lose the focus, which ends it again
  /** @param {boolean} save */
  const end = async (save) => {
    if (ended) return;
    ended = true;
    const after = input.value.trim();
    input.replaceWith(text);
    if (save && after !== "" && after !== shown().cards[id]?.text) await change("edit", { id, text: after });
  };
  input.addEventListener("blur", () => end(true));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  text.replaceWith(input);
  input.focus();
}

function drawPeople() {
  $("people").replaceChildren(...shown().people.map(({ number, name, connected }) => {
    const item = document.createElement("li");
    item.textContent = name;
    item.style.backgroundColor = COLORS[number % COLORS.length];
    item.toggleAttribute("data-away", !connected);
    return item;
  }));
}

/** @param {Board["state"]["shown"]["cursors"]} at */
function drawCursors(at) {
  const old = new Map([...columns.querySelectorAll(".cursor")].map((cursor) => [cursor.dataset.number, cursor]));
  for (const [number, [x, y]] of Object.entries(at)) {
    if (Number(number) === room?.number) continue;
    let cursor = old.get(number);
    if (cursor === undefined) {
      cursor = document.createElement("div");
      cursor.className = "cursor";
      cursor.dataset.number = number;
      cursor.style.setProperty("--color", COLORS[Number(number) % COLORS.length]);
      cursor.append(document.createElement("span"));
      columns.append(cursor);
    }
    cursor.firstElementChild.textContent = shown().people.find((person) => person.number === Number(number))?.name ?? "";
    cursor.style.left = `${x * columns.scrollWidth}px`;
    cursor.style.top = `${y * columns.scrollHeight}px`;
    old.delete(number);
  }
  for (const cursor of old.values()) cursor.remove();
}

let pointedAt = 0;
columns.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
  if (event.timeStamp < pointedAt + 1000 / POINTS_PER_SECOND) return;
  pointedAt = event.timeStamp;
  const bounds = columns.getBoundingClientRect();
  const x = (event.clientX - bounds.left + columns.scrollLeft) / columns.scrollWidth;
  const y = (event.clientY - bounds.top + columns.scrollTop) / columns.scrollHeight;
  room?.send("point", { at: [x, y] }, { delivery: "latest" });
});
columns.addEventListener("pointerleave", () => room?.send("point", { at: null }, { delivery: "latest" }));

/** Join a board, and leave the one before. @param {string} board */
function open(board) {
  room?.leave();
  room = null;
  draw();
  drawPeople();
  drawCursors({});
  location.hash = board;
  for (const button of $("boards").children) button.toggleAttribute("aria-current", button.textContent === board);
  const joined = room = join(`../rooms/board/${board}`);
  joined.watch((state) => state.shown.cards, draw);
  joined.watch((state) => state.shown.people, drawPeople);
  joined.watch((state) => state.shown.cursors, drawCursors);
  joined.on("$error", ({ message }) => console.warn(message));
  joined.on("$status", (state) => {
    if (joined !== room) return;
    $("light").dataset.state = $("light").textContent = state;
    if (state !== "closed") return;
    $("notice").textContent = joined.ending?.reason;
    $("notice").hidden = false;
  });
}

/** Show the login, or the boards of the person who is logged in. */
async function enter() {
  const answer = await fetch("../me");
  /** @type {{name: string | null, boards: string[]}} */
  const me = await answer.json();
  document.body.dataset.view = me.name === null ? "door" : "room";
  if (me.name === null) {
    $("name").focus();
    return;
  }
  $("boards").replaceChildren(...me.boards.map((board) => {
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = board;
    button.addEventListener("click", () => open(board));
    return button;
  }));
  const wanted = location.hash.slice(1);
  open(me.boards.includes(wanted) ? wanted : me.boards[0]);
}

$("login").addEventListener("submit", async (/** @type {any} */ event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  const answer = await fetch("../login", { method: "POST", body, headers: { "content-type": "application/json" } });
  $("complaint").textContent = answer.ok ? "" : (await answer.json()).error;
  if (answer.ok) {
    event.target.reset();
    await enter();
  }
});

$("logout").addEventListener("click", async () => {
  room?.leave();
  room = null;
  await fetch("../logout", { method: "POST" });
  await enter();
});

await enter();
