// @ts-check
/** Storage in the browser. If the browser allows no storage, this page's memory is used instead. */

/** @typedef {"localStorage" | "sessionStorage"} StorageName */

/** The values that the browser did not store. @type {Map<string, string>} */
const unstored = new Map();

/**
 * Return the text that was stored under a name; empty if there is none. Unlike `localStorage` itself, this function does not throw
 * if the browser blocks site data.
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
 * Store a text under a name. An empty text deletes the name. If the browser does not allow this, or has no space, the text is
 * stored in the memory of this page.
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
