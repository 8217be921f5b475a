// @ts-check
/** A random name of 128 bits: 32 hexadecimal digits. */
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
