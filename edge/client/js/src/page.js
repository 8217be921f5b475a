// @ts-check

/** Reports browser events of the page that matter to a room's connection: see docs/pages.md. */
export class PageLife {
  /** True from `pagehide` until the page is shown again. */
  #leaving = false;
  #listener;

  /**
   * @param {{check: (mayBeBetter: boolean) => void, pause: () => void, needsGoodbye: () => boolean}} listener `check`: called when
   *   the network has changed, or the page may have been asleep. Its argument is false if the browser has just gone offline, so
   *   that a new attempt to connect would fail. `pause`: called when the user leaves the page. `needsGoodbye`: returns true if
   *   the browser does not close the transport by itself
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
   * Handle `pagehide`: the user leaves the page. Messages that other `pagehide` listeners send must still arrive. Therefore, the
   * goodbye follows later: at `visibilitychange` if the page was visible, or at `freeze` if the browser caches the page. In all
   * other cases, the browser closes a WebSocket by itself, but an HTTP transport needs a goodbye now.
   */
  #hide = () => {
    this.#leaving = true;
    if (document.visibilityState !== "visible" && this.#listener.needsGoodbye()) this.#listener.pause();
  };

  #freeze = () => {
    if (this.#leaving) this.#listener.pause();
  };

  /** Handle `pageshow`, after which the page is active again, possibly from the browser's cache. @param {Event} event */
  #show = (event) => {
    this.#leaving = false;
    if ("persisted" in event && event.persisted) this.restored = true;
    this.#check(event);
  };

  /** Handle `visibilitychange`. @param {Event} event */
  #changeVisibility = (event) => {
    if (document.visibilityState === "visible") this.#check(event);
    else if (this.#leaving) this.#listener.pause();
    else this.#goLast();
  };

  /** Register `#hide` again, so that it runs after the page's other `pagehide` listeners. */
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
