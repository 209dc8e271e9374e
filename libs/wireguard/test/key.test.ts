import { test } from "node:test";
import assert from "node:assert/strict";
import {
  generateWireGuardKeys,
  parseWireGuardKey,
  publicKeyOf,
  wireGuardKeyBytes,
  wireGuardKeyFromBytes,
  WireGuardError,
} from "../src/index.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const refused = (text: string): void =>
  assert.throws(
    () => parseWireGuardKey(text),
    (error) => error instanceof WireGuardError && error.code === "key-invalid",
  );

test("a generated pair belongs together and differs from the next", () => {
  const one = generateWireGuardKeys();
  assert.equal(publicKeyOf(one.privateKey), one.publicKey);
  assert.notEqual(generateWireGuardKeys().privateKey, one.privateKey);
  assert.equal(wireGuardKeyFromBytes(wireGuardKeyBytes(one.publicKey)), one.publicKey);
});

test("derives the public key that other implementations derive", () => {
  const privateKey = parseWireGuardKey("SEcoI37oGWynhukxXo5Mi8/8zZBU6abg6T1TOJRMj1Y=");
  assert.equal(publicKeyOf(privateKey), "xc+7qkdeNFfl4g4xirGGGXHMc0cABuE5IHaLeCASVWM=");
});

test("refuses whatever is not canonical base64 of 32 bytes", () => {
  const key = generateWireGuardKeys().publicKey;
  for (const text of [
    "",
    "AQID",
    `${key}\n`,
    ` ${key}`,
    key.slice(0, -1),
    `${key}=`,
    key.replaceAll("=", ""),
    `${"A".repeat(42)}B=`,
    "-".repeat(43) + "=",
    Buffer.alloc(31).toString("base64"),
    Buffer.alloc(33).toString("base64"),
  ])
    refused(text);
});

test("a key with an embedded Endpoint line can never be rendered (SECURITY D5, replicated state)", () => {
  const key = generateWireGuardKeys().publicKey;
  refused(`${key}\nEndpoint = 203.0.113.9:1`);
  refused(`${key.slice(0, 20)}\n[Peer]\n${key.slice(0, 15)}=`);
});

test("an error about a key does not repeat the key", () => {
  assert.throws(
    () => parseWireGuardKey("secret-looking-text"),
    (error: Error) => !error.message.includes("secret-looking-text"),
  );
});

vectorTest("judges public keys as the vectors say", "gateway/wg-validate.json", ({ json }) => {
  const vectors = json<{ public_key: { key: string; ok: boolean }[] }>("gateway/wg-validate.json");
  for (const { key, ok } of vectors.public_key) {
    if (ok) assert.equal(parseWireGuardKey(key), key);
    else refused(key);
  }
});
