// @ts-check
import { randomName } from "./random.js";
import { recall, remember } from "./storage.js";
import { after } from "./time.js";

/** The seconds to wait for another page that holds the key of which this tab may have a copy. */
export const COPY_SECONDS = 0.15;

/**
 * Tells the pages of this origin which keys of tabs this page holds. Browsers copy `sessionStorage` into a tab that is
 * duplicated, or opened by a page of the tab; the copy must become another player.
 */
class TabKeys {
  /** By the last letters of a key: an empty text if this page holds it; while the page asks, its random question. @type {Map<string, string>} */
  #mine = new Map();
  /** What to call when a question is answered. @type {Map<string, () => void>} */
  #asked = new Map();
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /** Returns true if the key that this tab has stored is its own. @param {string} key */
  async claim(key) {
    const [id, question] = [key.slice(-16), randomName()];
    if (this.#mine.get(id) === "") return true;
    this.#mine.set(id, question);
    this.#listen();
    this.#channel?.postMessage({ id, question });
    const copied = await new Promise((resolve) => {
      this.#asked.set(question, () => resolve(recall("sessionStorage", "edge frame") !== question));
      after(COPY_SECONDS, () => resolve(false));
    });
    this.#asked.delete(question);
    if (copied) this.#mine.delete(id);
    else this.#mine.set(id, "");
    return !copied;
  }

  /** Record that this page holds a key. @param {string} key */
  hold(key) {
    this.#mine.set(key.slice(-16), "");
    this.#listen();
  }

  #listen() {
    if (this.#channel !== null) return;
    let channel;
    try {
      channel = this.#channel = new BroadcastChannel("edge tabs");
    } catch {
      return; // the browser does not have it, or blocks it with the site's data
    }
    /** @type {any} */ (channel).unref?.(); // or Node would wait for it
    channel.onmessage = ({ data: { id, question, answers } }) => {
      const mine = this.#mine.get(id);
      if (answers !== undefined) {
        this.#asked.get(answers)?.();
      } else if (mine !== undefined && mine < question) { // if two pages ask at the same time, one of them keeps the key
        // a frame of the same tab shares this storage, finds the question there, and shares the key, too
        remember("sessionStorage", "edge frame", question);
        channel.postMessage({ id, answers: question });
      }
    };
    globalThis.addEventListener?.("pagehide", () => { // a page with an open channel would not be cached
      channel.close();
      this.#channel = null;
      globalThis.addEventListener("pageshow", () => this.#listen(), { once: true });
    }, { once: true });
  }
}

export const tabKeys = new TabKeys();
