// @ts-check
/** Return a random name of 128 bits, as 32 hexadecimal digits. */
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
