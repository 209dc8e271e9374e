import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { concatBytes, parseHex } from "@dstack/bytes";
import { KeysError, keccak256, recoverSigner, secp256k1PublicKey, signRecoverableDigest } from "@dstack/keys";

const ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const scalar = bytes32.filter((bytes) => secp256k1.utils.isValidSecretKey(bytes));

test("keys and signatures are byte for byte those of another implementation of RFC 6979", () => {
  const edges = ["01".padStart(64, "0"), ORDER.replace(/41$/, "40")].map((hex) => parseHex(hex));
  const digests = ["00".repeat(32), "ff".repeat(32), ORDER].map((hex) => parseHex(hex));
  fc.assert(
    fc.property(
      fc.oneof(scalar, fc.constantFrom(...edges)),
      fc.oneof(bytes32, fc.constantFrom(...digests)),
      (secret, digest) => {
        const theirs = secp256k1.sign(digest, secret, { prehash: false, lowS: true, format: "recovered" });
        assert.deepEqual(signRecoverableDigest(secret, digest), concatBytes(theirs.subarray(1), theirs.subarray(0, 1)));
        assert.deepEqual(secp256k1PublicKey(secret), secp256k1.getPublicKey(secret, true));
      },
    ),
    { numRuns: 100 },
  );
});

test("a signature leads back to its key, and any change of it does not", () => {
  fc.assert(
    fc.property(scalar, bytes32, fc.nat(63), (secret, message, at) => {
      const signature = signRecoverableDigest(secret, keccak256(message));
      assert.deepEqual(recoverSigner(message, signature), secp256k1PublicKey(secret));
      signature[at]! ^= 1;
      try {
        assert.notDeepEqual(recoverSigner(message, signature), secp256k1PublicKey(secret));
      } catch (error) {
        assert.ok(error instanceof KeysError, String(error));
      }
    }),
    { numRuns: 20 },
  );
});

test("Keccak-256 is that of another implementation", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(keccak256(bytes), keccak_256(bytes));
    }),
  );
});

test("refuses scalars of zero, of the order and beyond, and of another length", () => {
  for (const hex of ["00".repeat(32), ORDER, "ff".repeat(32), "01", "01".repeat(33)]) {
    for (const run of [
      () => secp256k1PublicKey(parseHex(hex)),
      () => signRecoverableDigest(parseHex(hex), new Uint8Array(32)),
    ])
      assert.throws(run, KeysError, hex);
  }
  assert.throws(() => signRecoverableDigest(parseHex("01".repeat(32)), new Uint8Array(31)), KeysError);
});
