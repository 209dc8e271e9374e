import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";

/** Authenticated encryption alone, with keys that nobody can work out later from a key that leaks: what released versions offer. */
const CIPHERS = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/**
 * The one with a post-quantum half first: what is recorded today must not be read when such
 * machines exist. A star: a client sends a share for it at once, so that servers without the
 * first group cost no round trip.
 */
const GROUPS = "*X25519MLKEM768:*X25519:P-256:P-384";

/**
 * What every TLS connection of ours is made with, as a server and as a client: TLS 1.2 and 1.3,
 * AEAD suites, named groups, no renegotiation (a client could have the server's half of a handshake
 * made without end on one connection). Key, certificate and narrower versions come from `options`.
 */
export function tlsSettings<Options extends SecureContextOptions>(options: Options): Options & SecureContextOptions {
  return {
    minVersion: "TLSv1.2",
    ciphers: CIPHERS,
    ecdhCurve: GROUPS,
    ...options,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (options.secureOptions ?? 0),
  };
}
