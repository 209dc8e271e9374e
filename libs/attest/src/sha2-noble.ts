/** `#sha2` where there is no node:crypto: browsers. */
export { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
