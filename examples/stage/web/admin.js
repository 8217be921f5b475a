// @ts-check
import { join, recall, remember } from "./edge.js";

/** @import { Stage } from "../rooms" */

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

// the fragment of the address contains the key: remove the fragment, so that nobody can read the key on the speaker's screen
if (location.hash.length > 1) {
  remember("sessionStorage", "speaker", location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
const key = recall("sessionStorage", "speaker");
if (!key) {
  $("complaint").textContent = "Open the address that was printed when the server started.";
} else {
  /** @type {import("./edge.js").Room<Stage>} */
  const room = join("rooms/stage/main", { key });
  room.on("$status", (state) => {
    $("light").dataset.state = state;
    if (state !== "closed") return;
    if (room.ending?.code === 4220) {
      $("complaint").textContent = "The speaker's page is open elsewhere. Reload this page to continue here.";
      return;
    }
    remember("sessionStorage", "speaker", "");
    $("complaint").textContent = `${room.ending?.reason}: open the address that was printed when the server started.`;
  });
  room.watch(({ program }) => program.watching, (/** @type {number} */ watching) => {
    $("watching").textContent = `${watching} watching`;
  });
  room.watch(({ program }) => program.demos, () => show(room));
  room.watch(({ program }) => program.default, () => show(room));
}

/** @param {import("./edge.js").Room<Stage>} room */
function show(room) {
  const { program } = room.state;
  if (!program) return;
  const { demos, default: preferred } = program;
  $("switches").replaceChildren(...demos.map(({ key, title, on }) => {
    const row = document.createElement("div");
    row.dataset.key = key;
    const name = document.createElement("b");
    name.textContent = title;
    const onOff = button(on ? "On" : "Off", on, () => room.send("switch", { key, on: !on }));
    const star = button("Default", key === preferred, () => room.send("prefer", { key: key === preferred ? null : key }));
    onOff.className = "switch";
    star.className = "prefer";
    row.append(name, onOff, star);
    return row;
  }));
}

/** @param {string} text @param {boolean} pressed @param {() => void} act */
function button(text, pressed, act) {
  const made = document.createElement("button");
  made.textContent = text;
  made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", act);
  return made;
}
