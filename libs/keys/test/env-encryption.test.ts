import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { test } from "node:test";
import { concatBytes, parseHex, toHex, utf8 } from "@dstack/bytes";
import { decryptEnv, encryptEnv, KeysError, x25519PublicKey, x25519SharedSecret, type EnvPair } from "@dstack/keys";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Vectors {
  readonly cipher: readonly {
    readonly recipient_secret: string;
    readonly recipient_public: string;
    readonly ephemeral_secret: string;
    readonly iv: string;
    readonly shared_secret_is_aes_key: string;
    readonly plaintext_utf8: string;
    readonly blob: string;
  }[];
  readonly upstream: {
    readonly recipient_secret: string;
    readonly recipient_public: string;
    readonly ephemeral_public: string;
    readonly shared_secret_is_aes_key: string;
    readonly blob: string;
  };
}

const SECRET = new Uint8Array(32).fill(7);

const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof KeysError, String(error));
    return error.code;
  }
  return "accepted";
};

const seal = (plaintext: string): Uint8Array => {
  const ephemeral = new Uint8Array(32).fill(9);
  const iv = new Uint8Array(12);
  const cipher = createCipheriv("aes-256-gcm", x25519SharedSecret(ephemeral, x25519PublicKey(SECRET)), iv);
  return concatBytes(
    x25519PublicKey(ephemeral),
    iv,
    cipher.update(utf8(plaintext)),
    cipher.final(),
    cipher.getAuthTag(),
  );
};

vectorTest("encrypts and opens the environments of the vectors", "guest/env-encryption.json", ({ json }) => {
  const { cipher, upstream } = json<Vectors>("guest/env-encryption.json");
  for (const vector of cipher) {
    const { env } = JSON.parse(vector.plaintext_utf8) as { env: EnvPair[] };
    const draws = [parseHex(vector.ephemeral_secret), parseHex(vector.iv)];
    assert.equal(toHex(encryptEnv(env, parseHex(vector.recipient_public), () => draws.shift()!)), vector.blob);
    assert.deepEqual(decryptEnv(parseHex(vector.blob), parseHex(vector.recipient_secret)), env);
  }
  const secret = parseHex(upstream.recipient_secret);
  assert.equal(toHex(x25519PublicKey(secret)), upstream.recipient_public);
  assert.equal(
    toHex(x25519SharedSecret(secret, parseHex(upstream.ephemeral_public))),
    upstream.shared_secret_is_aes_key,
  );
  assert.equal(
    code(() => decryptEnv(parseHex(upstream.blob), secret)),
    "plaintext-invalid",
  );
});

test("what is encrypted opens again, with a fresh ephemeral key each time", () => {
  const pairs = [
    { key: "A", value: 'ä \n "' },
    { key: "A", value: "" },
  ];
  const first = encryptEnv(pairs, x25519PublicKey(SECRET));
  const second = encryptEnv(pairs, x25519PublicKey(SECRET));
  assert.notDeepEqual(first, second);
  assert.deepEqual(decryptEnv(first, SECRET), pairs);
  assert.deepEqual(decryptEnv(second, SECRET), pairs);
});

test("refuses a public key that makes the shared secret zero", () => {
  for (const bad of [new Uint8Array(32), concatBytes(Uint8Array.of(1), new Uint8Array(31))]) {
    assert.equal(
      code(() => encryptEnv([], bad)),
      "shared-secret-zero",
    );
    const blob = concatBytes(bad, new Uint8Array(40));
    assert.equal(
      code(() => decryptEnv(blob, SECRET)),
      "shared-secret-zero",
    );
  }
});

test("refuses every changed byte, short input and the wrong key", () => {
  const blob = encryptEnv([{ key: "K", value: "v" }], x25519PublicKey(SECRET));
  for (let i = 0; i < blob.length; i++) {
    const changed = Uint8Array.from(blob);
    changed[i]! ^= 1;
    assert.equal(
      code(() => decryptEnv(changed, SECRET)),
      "ciphertext-invalid",
      `byte ${i}`,
    );
  }
  assert.equal(
    code(() => decryptEnv(blob.subarray(0, 59), SECRET)),
    "ciphertext-invalid",
  );
  assert.equal(
    code(() => decryptEnv(blob, new Uint8Array(32).fill(8))),
    "ciphertext-invalid",
  );
  assert.throws(() => decryptEnv(blob, new Uint8Array(31)), /Invalid env crypt key length/);
});

test("refuses a plaintext of another shape without quoting it", () => {
  for (const text of [
    "sk-secret",
    "[]",
    "null",
    '{"env":{}}',
    '{"env":[1]}',
    '{"env":[{"key":"sk-secret"}]}',
    `{"env":[${Array(1025).fill('{"key":"a","value":"sk-secret"}').join(",")}]}`,
  ]) {
    assert.throws(
      () => decryptEnv(seal(text), SECRET),
      (error: unknown) =>
        error instanceof KeysError &&
        error.code === "plaintext-invalid" &&
        !error.message.includes("sk-secret") &&
        error.cause === undefined,
      text.slice(0, 40),
    );
  }
  assert.deepEqual(decryptEnv(seal('{"env":[{"key":"a","value":"b","note":1}],"more":2}'), SECRET), [
    { key: "a", value: "b" },
  ]);
});
