import { Code, join } from "edge-rooms";
import { Timeline } from "edge-rooms/motion";

import { type Poker, vocabularies } from "./rooms";

const show = (id: string, text: string) => { document.getElementById(id)!.textContent = text; };

const room = join<Poker>("rooms/poker/plain", { name: "ana", session: "tab", vocabulary: vocabularies.poker });
room.watch((state) => state.table.turn, (turn) => show("turn", turn));
room.watch((state) => state.table.bets, (bets) => show("bets", JSON.stringify(bets)));
room.on("raised", ({ by, pot }) => show("raised", `${by} ${pot}`));
room.on("$status", (status) => {
  if (status === "closed" && room.ending?.code === Code.FULL) show("turn", "full");
});
document.getElementById("bet")!.onclick = () => room.send("bet", { amount: 5 });
new Timeline({ tick: 0, state: 0, step: (state: number) => state + 1 });
