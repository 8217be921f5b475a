// @ts-check
/** A hook for pages that are written with React: `import { useRoomState } from "edge-rooms/react"`. */
import { useCallback, useRef, useSyncExternalStore } from "react";

/** @typedef {import("./types.js").RoomTypes} RoomTypes */
/** @template {RoomTypes} [K=any] @typedef {import("./room.js").Room<K>} Room */

/**
 * Return a part of a room's shared state, and render the component again whenever the part has changed. The part is undefined
 * until the state has arrived. A selector may make new objects: it is called once for each state and render.
 * @template {RoomTypes} K @template T
 * @param {Room<K>} room @param {(state: K["state"]) => T} selector such as `(state) => state.table.turn`
 * @returns {T | undefined}
 */
export function useRoomState(room, selector) {
  /** @type {import("react").RefObject<{state: unknown, selector: unknown, selected: T | undefined}>} */
  const last = useRef({ state: null, selector: null, selected: undefined });
  const subscribe = useCallback((/** @type {() => void} */ notify) => room.on("$patch", notify), [room]);
  const read = () => {
    const { state } = room;
    if (last.current.state !== state || last.current.selector !== selector) {
      const selected = Object.keys(state).length > 0 ? selector(state) : undefined;
      last.current = { state, selector, selected };
    }
    return last.current.selected; // the same object as long as nothing has changed: React would loop otherwise
  };
  return useSyncExternalStore(subscribe, read, read);
}
