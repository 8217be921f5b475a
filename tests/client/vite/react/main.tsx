import { join } from "edge-rooms";
import { useRoomState } from "edge-rooms/react";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

import { type Poker, vocabularies } from "./rooms";

const room = join<Poker>("rooms/poker/react", { name: "ana", session: "tab", vocabulary: vocabularies.poker });

function Table() {
  const turn = useRoomState(room, (state) => state.table.turn);
  const bets = useRoomState(room, (state) => Object.entries(state.table.bets));
  const [raised, setRaised] = useState("");
  useEffect(() => room.on("raised", ({ by, pot }) => setRaised(`${by} ${pot}`)), []);
  return (
    <>
      <p>
        <output id="turn">{turn}</output>: <output id="bets">{JSON.stringify(Object.fromEntries(bets ?? []))}</output>{" "}
        <output id="raised">{raised}</output>
      </p>
      <button id="bet" onClick={() => room.send("bet", { amount: 5 })}>Bet 5</button>
    </>
  );
}

createRoot(document.getElementById("root")!).render(<StrictMode><Table /></StrictMode>);
