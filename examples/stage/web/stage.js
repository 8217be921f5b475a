// @ts-check
import { join } from "./edge.js";

/** @import { Stage } from "../rooms" */

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {import("./edge.js").Room<Stage>} */
const room = join("rooms/stage/main", { session: "tab" });
room.on("$status", (state) => { $("light").dataset.state = state; });
room.watch(({ program }) => program.watching, (/** @type {number} */ watching) => {
  $("watching").textContent = watching <= 1 ? "Only you are here" : `${watching} of you are here`;
});
room.watch(({ program }) => program.demos, showDemos);
room.watch(({ program }) => program.default, showDemos);

// new links lose a click in progress, so they are made only if the demos have changed
function showDemos() {
  const { program } = room.state;
  if (!program) return;
  const { demos, default: preferred } = program;
  const open = demos.filter(({ on }) => on);
  $("demos").replaceChildren(...open.map(({ key, title, text }) => {
    const link = document.createElement("a");
    link.href = `${key}/`;
    link.dataset.key = key;
    link.classList.toggle("default", key === preferred);
    const [name, about] = [document.createElement("b"), document.createElement("span")];
    [name.textContent, about.textContent] = [title, text];
    link.append(name, about);
    return link;
  }));
  if (open.length === 0) $("demos").textContent = "Look at the stage: it begins soon.";
}

const address = new URL(".", location.href).href;
/** @type {HTMLImageElement} */ ($("qr")).src = `qr.svg?of=${encodeURIComponent(address)}`;
$("address").textContent = address.replace(/^https?:\/\/|\/$/g, "");
