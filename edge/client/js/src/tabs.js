// @ts-check
import { randomName } from "./random.js";
import { recall, remember } from "./storage.js";
import { after } from "./time.js";

/** The seconds to wait for the answer of another page that uses the same key. */
export const COPY_SECONDS = 0.15;

/**
 * Finds out if this tab's key is a copy of another tab's key, by questions to the other pages of this origin. Browsers copy
 * `sessionStorage` if a tab is duplicated or opens another tab. The new tab must become another player.
 */
class TabKeys {
  /** The last 16 characters of each key, with "" if this page uses the key, or with the page's random question about the key. @type {Map<string, string>} */
  #mine = new Map();
  /** For each unanswered question of this page, the function to call when an answer arrives. @type {Map<string, () => void>} */
  #asked = new Map();
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /** Return true if the key that this tab has stored is not a copy of another tab's key. @param {string} key */
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

  /** Record that this page uses a key. @param {string} key */
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
      return; // the browser does not support channels, or blocks them together with the site's data
    }
    /** @type {any} */ (channel).unref?.(); // otherwise Node would not exit
    channel.onmessage = ({ data: { id, question, answers } }) => {
      const mine = this.#mine.get(id);
      if (answers !== undefined) {
        this.#asked.get(answers)?.();
      } else if (mine !== undefined && mine < question) { // if two pages ask at the same time, only one of them answers, and keeps the key
        // a frame of the same tab shares this storage: if it finds its question there, it may use the same key
        remember("sessionStorage", "edge frame", question);
        channel.postMessage({ id, answers: question });
      }
    };
    globalThis.addEventListener?.("pagehide", () => { // the browser would not cache a page with an open channel
      channel.close();
      this.#channel = null;
      globalThis.addEventListener("pageshow", () => this.#listen(), { once: true });
    }, { once: true });
  }
}

export const tabKeys = new TabKeys();
