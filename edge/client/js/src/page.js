// @ts-check

/** What happens to the page that a room should know: see docs/pages.md. */
export class PageLife {
  /** True from `pagehide` until the page is shown again. */
  #leaving = false;
  #listener;

  /**
   * @param {{check: (mayBeGone: boolean) => void, pause: () => void, needsGoodbye: () => boolean}} listener `check`: the network
   *   changed, or the page was asleep; `mayBeGone` is false if the browser has just gone offline, so that a new attempt is in
   *   vain. `pause`: the page goes away. `needsGoodbye`: true if the browser does not close the transport by itself
   */
  constructor(listener) {
    this.#listener = listener;
    /** True if the page has come back from the browser's cache since the last welcome. */
    this.restored = false;
    for (const [target, event, run] of this.#events) target?.addEventListener?.(event, run);
  }

  stop() {
    for (const [target, event, run] of this.#events) target?.removeEventListener?.(event, run);
  }

  noteWelcome() {
    this.restored = false;
    this.#goLast();
  }

  /** @param {Event} event */
  #check = ({ type }) => this.#listener.check(type !== "offline");

  /**
   * The page goes away. What its other `pagehide` listeners send must still arrive, so the goodbye is sent later: at
   * `visibilitychange` if the page was visible, at `freeze` if it is cached. Otherwise the browser closes a WebSocket by
   * itself, but not an HTTP transport.
   */
  #hide = () => {
    this.#leaving = true;
    if (document.visibilityState !== "visible" && this.#listener.needsGoodbye()) this.#listener.pause();
  };

  #freeze = () => {
    if (this.#leaving) this.#listener.pause();
  };

  /** The page is back, from the browser's cache or from where it was. @param {Event} event */
  #show = (event) => {
    this.#leaving = false;
    if ("persisted" in event && event.persisted) this.restored = true;
    this.#check(event);
  };

  /** The page has become visible or hidden. @param {Event} event */
  #changeVisibility = (event) => {
    if (document.visibilityState === "visible") this.#check(event);
    else if (this.#leaving) this.#listener.pause();
    else this.#goLast();
  };

  /** Become the last of the current `pagehide` listeners. */
  #goLast() {
    globalThis.removeEventListener?.("pagehide", this.#hide);
    globalThis.addEventListener?.("pagehide", this.#hide);
  }

  /** @type {[EventTarget | undefined, string, (event: Event) => void][]} */
  #events = [
    [globalThis, "online", this.#check],
    [globalThis, "offline", this.#check],
    [globalThis.document, "visibilitychange", this.#changeVisibility],
    [globalThis.document, "freeze", this.#freeze],
    [globalThis.document, "resume", this.#check],
    [globalThis, "pagehide", this.#hide],
    [globalThis, "pageshow", this.#show],
  ];
}
