import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { appId, concatBytes, instanceId, parseHex, publicKey32, toHex, utf8 } from "@dstack/bytes";
import {
  appCaKey,
  appK256Key,
  appKeySignature,
  appKeySigner,
  checkEnvPublicKey,
  checkEnvPublicKeyFrom,
  deriveDh,
  deriveP256,
  diskCryptKey,
  envCryptKey,
  envPublicKeySignature,
  generateP256,
  kdf,
  keccak256,
  KeysError,
  p256FromPem,
  p256FromScalar,
  pkcs8Der,
  pkcs8Pem,
  pointFromSpki,
  privateKeyObject,
  rawToPkcs8,
  recoverSigner,
  secp256k1PublicKey,
  signRecoverable,
  spkiDer,
  x25519PublicKey,
} from "@dstack/keys";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const ROOT = parseHex("f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1");
const K256 = new Uint8Array(32).fill(0x42);
const APP = appId(new Uint8Array(20).fill(0x11));
const INSTANCE = instanceId(new Uint8Array(20).fill(0x22));

const code = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof KeysError, String(error));
    return error.code;
  }
  return "accepted";
};

test("derives the same keys as the reference from known roots", () => {
  assert.equal(
    toHex(deriveDh(ROOT, [utf8("context one"), utf8("context two")])),
    "663afd58820be8ad645f9c035e93199d114ab16f738db62393bc1d7d623e8813",
  );
  assert.equal(
    toHex(spkiDer(p256FromScalar(ROOT))),
    "3059301306072a8648ce3d020106082a8648ce3d0301070342000491f50522407ce29dce3ed7d31a15d80c1c42f13a23552d2b33a0ce09ee11e47bce95936f3e7f80d195f879e28e1b144ef37ac9ab8e36a690cbf930b775897b27",
  );
  assert.equal(
    toHex(diskCryptKey(ROOT, APP, INSTANCE)),
    "a59c814e2c6d9353af59ce4fba7215e5ec3b62a2495b4dca48ea6f9804061f51",
  );
  assert.equal(
    toHex(diskCryptKey(ROOT, APP, instanceId(new Uint8Array()))),
    "14de7a7fd8bddf8e641a55ca97f043cac4344d175419f743940840f3a348f049",
  );
  assert.equal(
    toHex(deriveP256(ROOT, [APP, utf8("env-encrypt-key")]).scalar),
    "280c9250bf6963194a962b71f08facd4cb1736f9ffb894cc081358374f835575",
  );
  assert.equal(toHex(envCryptKey(ROOT, APP)), "a7470db8cfdd0fe24134b461d60766afa7c078abe6dce9f2c8a5c44034ca400e");
  assert.equal(
    toHex(x25519PublicKey(envCryptKey(ROOT, APP))),
    "93cf259f68b24775d54290a8ea57cf93efc994d3ff28a7b8ba7a39e9f512302f",
  );
  assert.equal(toHex(appCaKey(ROOT, APP).scalar), "5b779e0a9fe80b2e5866d94958daa1a4e29a183228b3f37acd7eae153e18a75f");
  assert.equal(
    toHex(spkiDer(appCaKey(ROOT, APP))),
    "3059301306072a8648ce3d020106082a8648ce3d030107034200040526af58f573724a2933a2b53506caa20343e6b98573fd89e32eee820eb5958fe4797ce498fe8b86f114debf18daaf5e650ab48cec14927e95e71fac13af7697",
  );
  assert.equal(toHex(secp256k1PublicKey(K256)), "0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c");
  assert.equal(toHex(appK256Key(K256, APP)), "dae157edc7e9c0c5494a68c940bd24790d019fb47cd0bb22dc828409a0d47579");
  assert.equal(
    toHex(secp256k1PublicKey(appK256Key(K256, APP))),
    "03df1f7a6ee9e489a0ec09ff642981052b7d0225a9bcda3f71086f46685af558ce",
  );
});

test("makes the same signatures as the reference and recovers their signer", () => {
  const appPublic = secp256k1PublicKey(appK256Key(K256, APP));
  const envPublic = publicKey32(x25519PublicKey(envCryptKey(ROOT, APP)));
  const root = toHex(secp256k1PublicKey(K256));
  assert.equal(
    toHex(keccak256(concatBytes(utf8("dstack-kms-issued:"), APP, appPublic))),
    "518af567a30b962471c8c82a8b8686f1fc83c434b14bdc3b0c49b9da1799080d",
  );
  const appSignature = appKeySignature(K256, APP, appPublic);
  assert.equal(
    toHex(appSignature),
    "a93bc01ddc35701822022186d4b29d041fd964fa9ce068aeeefc1068cb3a7e87638d29d9a7e364588bfd27cff33eecc25397b3856e142e224dc8686eef6bb6a501",
  );
  assert.equal(toHex(appKeySigner(APP, appPublic, appSignature)), root);
  assert.equal(
    toHex(envPublicKeySignature(K256, APP, envPublic)),
    "cb1dfadae72b96ccd640f57c930c69957fc4e0efe38eb3e75c83e37ccf75634a3bf271f7eaf3c623eec729ca62c81f61ad309138dd5b0fe8988a7c818aa661df00",
  );
  assert.equal(
    toHex(envPublicKeySignature(K256, APP, envPublic, 1_700_000_000n)),
    "63a9043a1f3fdf4c76a0a8c84f257c833f0a07c064084b063c2d04ea80d09d112a783a52b3c70a13bdf5571fcea501a1a387930c4cf16d1db2b966e5514d516e01",
  );
});

test("recovers the root key of a KMS in the field from its app key signature", () => {
  const app = appId(parseHex("5bb4ff9a3837357f19dc176407a5709c62eb6c56"));
  const appPublic = secp256k1PublicKey(parseHex("d6e88992cdeeee35fe70b5db61ab66cdb191fb9b6ec9313757ef162dd7214d5d"));
  assert.equal(toHex(appPublic), "02818494263695e8839122dbd88e281d7380622999df4e60a14befa0f2d096fc7c");
  const signature = parseHex(
    "9e618603e72d01fedb82deff6daf2d62a572becf0059eec3f89c1ab40e1f2e594d2a283f843f34e8f39e4cc49a612496ce67223a12ac923f8efe330346dfc6c500",
  );
  assert.equal(
    toHex(appKeySigner(app, appPublic, signature)),
    "0321529e458424ab1f710a3a57ec4dad2fb195ddca572f7469242ba6c7563085b6",
  );
});

test("writes the one PKCS#8 form, and reads its own PEM back (#553)", () => {
  const key = p256FromScalar(ROOT);
  assert.equal(pkcs8Der(key).length, 138);
  assert.equal(privateKeyObject(key).export({ format: "pem", type: "pkcs8" }), pkcs8Pem(key));
  assert.deepEqual(p256FromPem(pkcs8Pem(key)), key);
  assert.deepEqual(pointFromSpki(spkiDer(key)), key.publicPoint);
  assert.equal(
    code(() => p256FromPem("nonsense")),
    "scalar-invalid",
  );
});

test("refuses ids of other lengths before joining them (DS #554)", () => {
  for (const length of [0, 19, 21]) {
    const wrong = new Uint8Array(length) as typeof APP;
    assert.throws(() => envCryptKey(ROOT, wrong), /app_id must be 20 bytes/);
    assert.equal(
      code(() => appCaKey(ROOT, wrong)),
      "length-wrong",
    );
    assert.equal(
      code(() => appK256Key(K256, wrong)),
      "length-wrong",
    );
    assert.equal(
      code(() => diskCryptKey(ROOT, wrong, INSTANCE)),
      "length-wrong",
    );
    assert.equal(
      code(() => appKeySignature(K256, wrong, new Uint8Array(33))),
      "length-wrong",
    );
    assert.equal(
      code(() => envPublicKeySignature(K256, wrong, publicKey32(new Uint8Array(32)))),
      "length-wrong",
    );
  }
  for (const length of [1, 19, 21])
    assert.equal(
      code(() => diskCryptKey(ROOT, APP, new Uint8Array(length) as typeof INSTANCE)),
      "length-wrong",
    );
  assert.equal(
    code(() => appKeySignature(K256, APP, new Uint8Array(32))),
    "length-wrong",
  );
});

test("refuses scalars outside of the groups", () => {
  const p256Order = parseHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
  for (const scalar of [new Uint8Array(32), p256Order, new Uint8Array(32).fill(0xff)])
    assert.equal(
      code(() => p256FromScalar(scalar)),
      "scalar-invalid",
    );
  assert.equal(
    code(() => p256FromScalar(new Uint8Array(31))),
    "length-wrong",
  );
  assert.equal(
    code(() => secp256k1PublicKey(new Uint8Array(32))),
    "scalar-invalid",
  );
  assert.equal(
    code(() => generateP256(() => new Uint8Array(32))),
    "scalar-invalid",
  );
  assert.equal(
    code(() => kdf(new Uint8Array(), [])),
    "length-wrong",
  );
  const offCurve = spkiDer(p256FromScalar(ROOT));
  offCurve[90]! ^= 1;
  assert.equal(
    code(() => pointFromSpki(offCurve)),
    "scalar-invalid",
  );
});

test("refuses signatures that are short, high or oddly marked", () => {
  const message = utf8("message");
  const signature = signRecoverable(K256, message);
  assert.deepEqual(recoverSigner(message, signature), secp256k1PublicKey(K256));
  assert.equal(
    code(() => recoverSigner(message, signature.subarray(0, 64))),
    "length-wrong",
  );
  assert.equal(
    code(() => recoverSigner(message, concatBytes(signature.subarray(0, 64), Uint8Array.of(27)))),
    "signature-invalid",
  );
  assert.equal(
    code(() => recoverSigner(message, new Uint8Array(65))),
    "signature-invalid",
  );
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const high = (order - BigInt(`0x${toHex(signature.subarray(32, 64))}`)).toString(16).padStart(64, "0");
  const mirrored = concatBytes(signature.subarray(0, 32), parseHex(high), Uint8Array.of(1 - signature[64]!));
  assert.equal(
    code(() => recoverSigner(message, mirrored)),
    "signature-invalid",
  );
});

test("wraps raw Ed25519 and X25519 keys for OpenSSL", () => {
  assert.equal(rawToPkcs8("ed25519", new Uint8Array(32)).length, 48);
  assert.equal(
    code(() => rawToPkcs8("x25519", new Uint8Array(31))),
    "length-wrong",
  );
});

interface EnvKeyVectors {
  readonly vectors: readonly {
    readonly id: string;
    readonly public_key: string;
    readonly app_id: string;
    readonly signature: string;
    readonly timestamp: number | null;
    readonly clock?: number;
    readonly expect: { readonly signer: string | null };
  }[];
}

vectorTest("judges environment keys as released clients do", "kms/env-pubkey-signatures.json", ({ json }) => {
  for (const vector of json<EnvKeyVectors>("kms/env-pubkey-signatures.json").vectors) {
    const timestamp = vector.timestamp === null ? undefined : BigInt(vector.timestamp);
    const check = checkEnvPublicKey(
      {
        appId: appId(parseHex(vector.app_id)),
        publicKey: publicKey32(parseHex(vector.public_key)),
        signature: parseHex(vector.signature),
        timestamp,
      },
      { now: BigInt(vector.clock ?? vector.timestamp ?? 0) },
    );
    assert.equal(check.kind === "signed" ? toHex(check.signer) : null, vector.expect.signer, vector.id);
  }
});

test("an environment key counts only in its time window and only from a trusted signer", () => {
  const publicKey = publicKey32(x25519PublicKey(envCryptKey(ROOT, APP)));
  const signature = envPublicKeySignature(K256, APP, publicKey, 1000n);
  const claim = { appId: APP, publicKey, signature, timestamp: 1000n };
  const trusted = [secp256k1PublicKey(K256)];
  for (const [now, kind] of [
    [1000n, "signed"],
    [1300n, "signed"],
    [1301n, "refused"],
    [940n, "signed"],
    [939n, "refused"],
  ] as const) {
    assert.equal(checkEnvPublicKeyFrom(trusted, claim, { now }).kind, kind, String(now));
  }
  assert.equal(checkEnvPublicKeyFrom([secp256k1PublicKey(ROOT)], claim, { now: 1000n }).kind, "refused");
  assert.equal(checkEnvPublicKeyFrom(trusted, { ...claim, timestamp: 1001n }, { now: 1000n }).kind, "refused");
});

interface KdfVectors {
  readonly upstream_dh_secret: Record<string, string>;
  readonly seed_app_keys: Record<string, string>;
}

vectorTest("derives the intermediates of the guest's vectors", "guest/kdf.json", ({ json }) => {
  const { upstream_dh_secret: dh, seed_app_keys: seedKeys } = json<KdfVectors>("guest/kdf.json");
  const derived = deriveP256(parseHex(dh["root_scalar"]!), [utf8("context one"), utf8("context two")]);
  assert.equal(toHex(pkcs8Der(derived)), dh["derived_pkcs8_der"]);
  assert.equal(toHex(createHash("sha256").update(pkcs8Der(derived)).digest()), dh["expected"]);
  const seed = parseHex(seedKeys["seed"]!);
  const appKey = p256FromScalar(kdf(seed, [utf8("app-key")]));
  assert.equal(toHex(pkcs8Der(appKey)), seedKeys["app_key_pkcs8_der"]);
  assert.equal(toHex(spkiDer(appKey)), seedKeys["app_key_spki_der"]);
  assert.equal(toHex(deriveDh(seed, [utf8("app-disk-key")])), seedKeys["disk_crypt_key"]);
  assert.equal(toHex(secp256k1PublicKey(kdf(seed, [utf8("app-k256-key")]))), seedKeys["k256_pubkey"]);
});

test("takes no signature over a point whose x lies beyond the order, which nobody signs", () => {
  const byId = (r: number, recovery: number): Uint8Array => {
    const signature = new Uint8Array(65);
    signature[31] = r;
    signature[63] = 1;
    signature[64] = recovery;
    return signature;
  };
  for (let r = 1; r <= 16; r++) {
    for (const recovery of [2, 3, 4, 27, 28])
      assert.throws(() => recoverSigner(utf8("m"), byId(r, recovery)), {
        code: "signature-invalid",
        message: `recovery id: expected 0 or 1, got ${recovery}`,
      });
  }
});
