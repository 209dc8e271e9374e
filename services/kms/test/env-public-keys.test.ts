import assert from "node:assert/strict";
import { test } from "node:test";
import { appId } from "@dstack/bytes";
import { checkEnvPublicKeyFrom, generateP256, secp256k1PublicKey } from "@dstack/keys";
import { createRootCa } from "../src/certificates/kms-certificates.ts";
import { envPublicKeys } from "../src/release/env-public-keys.ts";

const rootK256 = new Uint8Array(32).fill(42);
const keys = { rootCa: createRootCa(generateP256(), 1_764_000_000), rootK256 };
const app = (number: number) => appId(new Uint8Array(20).fill(number));

test("an answer that is kept is the one that would be signed anew, dated as asked", () => {
  const ask = envPublicKeys(keys);
  for (const [number, timestamp] of [
    [1, 100n],
    [1, 100n],
    [2, 100n],
    [1, 101n],
    [1, 100n],
    [2, 102n],
  ] as const) {
    const answer = ask(app(number), timestamp);
    assert.deepEqual(answer, envPublicKeys(keys)(app(number), timestamp));
    for (const [signature, signedAt] of [
      [answer.signature, undefined],
      [answer.signatureV1, timestamp],
    ] as const) {
      const check = checkEnvPublicKeyFrom(
        [secp256k1PublicKey(rootK256)],
        { appId: app(number), publicKey: answer.publicKey, signature, timestamp: signedAt },
        { now: timestamp },
      );
      assert.equal(check.kind, "signed");
    }
  }
});

test("the second answer of a second costs no signature, and the first of the next one alone", () => {
  const ask = envPublicKeys(keys);
  const first = ask(app(1), 100n);
  assert.equal(ask(app(1), 100n), first, "the very same answer");
  const next = ask(app(1), 101n);
  assert.equal(next.signature, first.signature);
  assert.notDeepEqual(next.signatureV1, first.signatureV1);
});
