// @ts-check
import { join } from "./edge.js";

const QUIET_SECONDS = 3; // seconds without an event after which the page shows that the server is silent
const SHOWN_SECONDS = 60;
const AT_ONCE = 4; // number of requests that this page sends at the same time

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Shows the newest value of a measurement, and a chart of its recent values. */
class Gauge {
  /** @type {{at: number, value: number}[]} */
  #values = [];
  #section;
  #show;
  #top;

  /** @param {string} id @param {(value: number) => string} show @param {number} [top] the smallest value at the top of the chart */
  constructor(id, show, top = 0) {
    this.#section = $(id);
    this.#show = show;
    this.#top = top;
  }

  /** @param {number} value */
  note(value) {
    const at = performance.now() / 1000;
    this.#values = [...this.#values.filter((each) => each.at > at - SHOWN_SECONDS - 5), { at, value }];
    /** @type {HTMLElement} */ (this.#section.querySelector(".value b")).textContent = this.#show(value);
  }

  draw() {
    const canvas = /** @type {HTMLCanvasElement} */ (this.#section.querySelector("canvas"));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const dense = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * dense)) [canvas.width, canvas.height] = [Math.round(width * dense), Math.round(height * dense)];
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    const now = performance.now() / 1000;
    const top = Math.max(this.#top, ...this.#values.map(({ value }) => value)) * 1.08 || 1;
    const points = this.#values.map(({ at, value }) => [width * (1 - (now - at) / SHOWN_SECONDS), height * (1 - value / top)]);
    if (points.length < 2) return;
    const color = getComputedStyle(this.#section).getPropertyValue("--c");
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x, y);
    [context.strokeStyle, context.lineWidth, context.lineJoin] = [color, 2, "round"];
    context.stroke();
    context.lineTo(points[points.length - 1][0], height);
    context.lineTo(points[0][0], height);
    context.globalAlpha = 0.16;
    context.fillStyle = color;
    context.fill();
    context.globalAlpha = 1;
  }
}

const gauges = {
  requests: new Gauge("requests", (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0)), 10),
  cpu: new Gauge("cpu", (value) => value.toFixed(0), 100),
  memory: new Gauge("memory", (value) => value.toFixed(0)),
};
let heardAt = -Infinity;
const mebibytes = (/** @type {number} */ bytes) => bytes / 2 ** 20;

/** @type {import("./edge.js").Room<import("../rooms").Monitor>} */
const room = join("rooms/monitor/main");
room.on("requests", ({ a_second, total }) => {
  heard();
  gauges.requests.note(a_second);
  $("total").textContent = total.toLocaleString("en");
});
room.on("cpu", ({ share }) => { heard(); gauges.cpu.note(100 * share); });
room.on("memory", ({ bytes }) => { heard(); gauges.memory.note(mebibytes(bytes)); });
room.on("collected", ({ objects, before, after, seconds }) => {
  $("collected").textContent = `${objects.toLocaleString("en")} objects, ${mebibytes(before - after).toFixed(1)} MiB freed, in ${(1000 * seconds).toFixed(0)} ms`;
});
$("collect").addEventListener("click", () => room.send("collect"));

function heard() { heardAt = performance.now(); }

const address = new URL("load", location.href).href;
$("address").textContent = address;
$("hundred").addEventListener("click", async () => {
  let [left, failed] = [100, 0];
  const button = /** @type {HTMLButtonElement} */ ($("hundred"));
  button.disabled = true;
  $("sent").textContent = "sending…";
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left > 0) {
      left -= 1;
      await fetch(address).then((response) => { failed += Number(!response.ok); }, () => { failed += 1; });
    }
  }));
  button.disabled = false;
  $("sent").textContent = failed === 0 ? "100 answered" : `${failed} failed`;
});

function frame() {
  const quiet = (performance.now() - heardAt) / 1000 > QUIET_SECONDS;
  const state = room.status === "open" && !quiet ? "live" : room.status === "connecting" ? "connecting" : "quiet";
  if ($("light").dataset.state !== state) {
    $("light").dataset.state = state;
    $("state").textContent = { live: "live", connecting: "connecting…", quiet: room.ending?.reason ?? "the server sends nothing" }[state];
  }
  for (const gauge of Object.values(gauges)) gauge.draw();
  requestAnimationFrame(frame);
}
frame();
