// @ts-check

/**
 * Return a document, or a part of it, with a patch applied: see docs/wire.md. The result shares what the patch leaves unchanged.
 * @param {any} plain @param {any} patch @returns {any}
 */
export function patched(plain, patch) {
  const edited = (/** @type {Record<string, any>} */ edits = {}) => Object.entries(edits).map(([name, edit]) => [name, patched(plain[name], edit)]);
  if (Array.isArray(plain)) {
    const splices = patch.length - (patch.length % 3);
    plain = [...plain];
    for (let n = 0; n < splices; n += 3) plain = [...plain.slice(0, patch[n]), ...patch[n + 2], ...plain.slice(patch[n] + patch[n + 1])];
    for (const [index, item] of edited(patch[splices])) plain[index] = item;
    return plain;
  }
  const [changes, edits, gone = []] = patch;
  // a spread defines names such as __proto__, and never sets them
  const next = { ...plain, ...Object.fromEntries(edited(edits)), ...changes };
  for (const name of gone) delete next[name];
  return next;
}
