// @ts-check
/** Storage in the browser; in this page's memory if the browser does not allow it. */

/** @typedef {"localStorage" | "sessionStorage"} StorageName */

/** The values that the browser did not store. @type {Map<string, string>} */
const unstored = new Map();

/**
 * Return the text that was stored under a name; empty if there is none. Never throws, although `localStorage` itself throws if site data
 * are blocked.
 * @param {StorageName} storage @param {string} name @returns {string}
 */
export function recall(storage, name) {
  try {
    return unstored.get(`${storage} ${name}`) ?? globalThis[storage].getItem(name) ?? "";
  } catch {
    return "";
  }
}

/**
 * Store a text under a name; an empty text deletes the name. If the browser does not allow this, or has no space, the text is
 * stored for as long as this page lives.
 * @param {StorageName} storage @param {string} name @param {string} value
 */
export function remember(storage, name, value) {
  unstored.delete(`${storage} ${name}`);
  try {
    if (value) globalThis[storage].setItem(name, value);
    else globalThis[storage].removeItem(name);
  } catch {
    if (value) unstored.set(`${storage} ${name}`, value);
  }
}
