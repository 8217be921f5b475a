// @ts-check
/** The session keys that servers issue to this page. The rooms of the page share the keys. */
import { Code, retryAfter } from "./constants.js";
import { recall, remember } from "./storage.js";
import { COPY_SECONDS, tabKeys } from "./tabs.js";
import { after } from "./time.js";
import { ProtocolError } from "./wire.js";

/** @typedef {"browser" | "tab"} SessionScope */
/** A key, and the time at which to renew it, in seconds since the epoch. @typedef {{key: string | null, renewAt: number}} IssuedKey */

const KEY_SECONDS = 4; // the time limit of a request for a key, after which the request is repeated

/** The keys by session scope and server, and the pending renewals by old key. @type {Map<string, Promise<IssuedKey>>} */
const keys = new Map();

/**
 * Return the key of the browser's session, which its pages share by a cookie, or of this tab's own session. The key is null if
 * the server issues no keys. Each room then has a session of its own. Throws a `ProtocolError` if the server refuses to issue a
 * key, or another error if the request failed.
 * @param {string} server the address before `/session` @param {SessionScope} scope
 * @param {string | null} refused a key that the server has refused
 * @returns {Promise<IssuedKey>}
 */
export async function issuedKey(server, scope, refused) {
  const [stored, known] = [`edge ${server}`, `${scope} ${server}`];
  const before = keys.get(known);
  if (before !== undefined && refused !== null && (await before).key === refused && keys.get(known) === before) {
    keys.delete(known); // no other room of this page has replaced the key meanwhile
    if (recall("sessionStorage", stored) === refused) remember("sessionStorage", stored, "");
  }
  const found = keys.get(known) ?? (scope === "tab" ? tabKey(server) : requestKey(server, scope, ""));
  keys.set(known, found);
  found.then(({ key }) => key === null && keys.delete(known), () => keys.delete(known));
  return found;
}

/** Get a newer key of the same session for all rooms of this page. @param {string} server @param {SessionScope} scope @param {string} key @returns {Promise<IssuedKey>} */
export async function renewedKey(server, scope, key) {
  const [known, renewal] = [`${scope} ${server}`, `renewal ${key}`];
  const running = keys.get(renewal) ?? requestKey(server, scope, key);
  keys.set(renewal, running);
  const issued = await running.finally(() => keys.delete(renewal));
  if (issued.key === null) throw new Error(`${server} issues no keys`);
  if ((await keys.get(known))?.key === key) keys.set(known, running);
  if (scope === "tab") storeTabKey(server, issued.key);
  return issued;
}

/** Return this tab's key. Request a new key if none is stored, or if the stored key is a copy of another tab's. All frames of the tab share the key. @param {string} server @returns {Promise<IssuedKey>} */
async function tabKey(server) {
  const [stored, asking] = [`edge ${server}`, `edge asking ${server}`];
  for (;;) {
    const before = recall("sessionStorage", stored);
    if (before && (await tabKeys.claim(before))) {
      try {
        const issued = await requestKey(server, "tab", before);
        storeTabKey(server, issued.key);
        return issued;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error; // the stored key has expired, or another server has issued it: request a new one
      }
    }
    if (recall("sessionStorage", stored) !== before) continue; // another frame has stored a new key
    if (Date.now() - Number(recall("sessionStorage", asking)) < KEY_SECONDS * 1000) { // another frame is requesting a key
      await new Promise((resolve) => after(COPY_SECONDS, () => resolve(undefined)));
      continue;
    }
    remember("sessionStorage", asking, String(Date.now()));
    try {
      const issued = await requestKey(server, "tab", "");
      storeTabKey(server, issued.key);
      return issued;
    } finally {
      remember("sessionStorage", asking, "");
    }
  }
}

/** @param {string} server @param {string | null} key */
function storeTabKey(server, key) {
  remember("sessionStorage", `edge ${server}`, key ?? "");
  if (key !== null) tabKeys.hold(key);
}

/** Request a key from the server. @param {string} server @param {SessionScope} scope @param {string} old the key to renew; empty for none @returns {Promise<IssuedKey>} */
async function requestKey(server, scope, old) {
  /** @type {Record<string, string>} */
  const headers = { "edge-session": scope };
  if (old) headers.authorization = `Bearer ${old}`;
  const credentials = scope === "tab" ? "omit" : "include";
  const signal = AbortSignal.timeout(KEY_SECONDS * 1000);
  const response = await fetch(`${server}/session`, { method: "POST", headers, credentials, signal });
  if ([404, 405, 501].includes(response.status)) {
    console.warn(`edge: there is no ${server}/session: each load of this page is a new player`);
    return { key: null, renewAt: Infinity };
  }
  const body = await response.json().catch(() => ({})); // the body may be a proxy's page instead of JSON
  if (response.ok && typeof body.key === "string") {
    return { key: body.key, renewAt: Date.now() / 1000 + Math.max(1, body.renew_after ?? Infinity) };
  }
  const code = Number(response.headers.get("edge-code"));
  if (code === Code.KEY_EXPIRED || retryAfter(code) === "never") throw new ProtocolError(String(body.message), code);
  throw new Error(`${server}/session: HTTP ${response.status}`);
}
