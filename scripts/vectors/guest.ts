import { createCipheriv, createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { appId, concatBytes, hash32, parseHex, toHex, utf8 } from "@dstack/bytes";
import { customReportData, mrConfigIdV1, mrConfigIdV2, mrConfigIdV3 } from "@dstack/attest";
import {
  appKeySignature,
  deriveDh,
  deriveP256,
  encryptEnv,
  kdf,
  p256FromScalar,
  pkcs8Der,
  rawToPkcs8,
  secp256k1PublicKey,
  signRecoverable,
  spkiDer,
  x25519PublicKey,
  x25519SharedSecret,
} from "@dstack/keys";
import { luksHeaders } from "./luks.ts";
import type { Vectors } from "./vectors.ts";

export const APP_ID = "a1".repeat(20);
const APP_K256 = parseHex("1d".repeat(32));
const ROOT_K256 = parseHex("42".repeat(32));
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The app's manifest, its final newline included. */
export const MANIFEST = utf8(
  `${JSON.stringify({
    manifest_version: 2,
    name: "own-app",
    runner: "docker-compose",
    docker_compose_file: `services:\n  web:\n    image: own@sha256:${"ab".repeat(32)}\n`,
    public_logs: true,
    public_sysinfo: true,
    public_tcbinfo: true,
    key_provider: "kms",
  })}\n`,
);

/** Keys, identities and encrypted environments as the guest makes and opens them, and headers of its data disk. */
export function guestVectors(): Vectors {
  const manifestHash = sha256(MANIFEST);
  return {
    "guest/simulator-0.6/app-compose.json": MANIFEST,
    "guest/simulator-0.6/sys-config.json": {
      kms_urls: ["https://kms.own.test:9301"],
      gateway_urls: ["https://gateway.own.test:9303"],
      pccs_url: "",
      docker_registry: "",
      host_api_url: "vsock://2:10000/api",
      vm_config: `{"os_image_hash":"${"0e".repeat(32)}","cpu_count":2,"memory_size":2147483648}`,
    },
    "guest/compose-hash-raw.json": [
      {
        file: "simulator-0.6/app-compose.json",
        compose_hash: manifestHash,
        default_app_id: manifestHash.slice(0, 40),
      },
    ],
    "guest/kdf.json": derivedKeys(),
    "guest/env-encryption.json": environments(),
    "guest/mr-config-id.json": launchBindings(),
    "guest/getkey-simulator-0.6.json": appKeys(),
    "guest/derivekey-simulator-0.6.json": { derive_key: [{ path: "own/path" }] },
    "guest/sign-verify.json": statements(),
    "guest/tdx-quote-report-data.json": ["sha256", "sha512", "keccak256"].map((hash) => ({
      content_utf8: "own content",
      prefix_request: "",
      hash_algorithm: hash,
      report_data: toHex(customReportData("app-data", utf8("own content"), hash)),
    })),
    ...Object.fromEntries(Object.entries(luksHeaders()).map(([name, bytes]) => [`guest/luks/${name}.hdr`, bytes])),
  };
}

function derivedKeys(): object {
  const root = parseHex("0a".repeat(32));
  const derived = deriveP256(root, [utf8("context one"), utf8("context two")]);
  const seed = parseHex("5eed".repeat(16));
  const appKey = p256FromScalar(kdf(seed, [utf8("app-key")]));
  return {
    upstream_dh_secret: {
      root_scalar: toHex(root),
      derived_pkcs8_der: toHex(pkcs8Der(derived)),
      expected: sha256(pkcs8Der(derived)),
    },
    seed_app_keys: {
      seed: toHex(seed),
      app_key_pkcs8_der: toHex(pkcs8Der(appKey)),
      app_key_spki_der: toHex(spkiDer(appKey)),
      disk_crypt_key: toHex(deriveDh(seed, [utf8("app-disk-key")])),
      k256_pubkey: toHex(secp256k1PublicKey(kdf(seed, [utf8("app-k256-key")]))),
    },
  };
}

function environments(): object {
  const secret = parseHex("77".repeat(32));
  const publicKey = x25519PublicKey(secret);
  const ephemeral = parseHex("99".repeat(32));
  const iv = parseHex("0b".repeat(12));
  const seal = (env: { key: string; value: string }[]): object => {
    const draws = [ephemeral, iv];
    return {
      recipient_secret: toHex(secret),
      recipient_public: toHex(publicKey),
      ephemeral_secret: toHex(ephemeral),
      iv: toHex(iv),
      plaintext_utf8: JSON.stringify({ env }),
      blob: toHex(encryptEnv(env, publicKey, () => draws.shift() ?? new Uint8Array(0))),
    };
  };
  return {
    cipher: [
      seal([
        { key: "OWN_KEY", value: "own value" },
        { key: "EMPTY", value: "" },
      ]),
      seal([{ key: "TEXT", value: 'ü \n " \\' }]),
    ],
    upstream: foreignEnvironment(secret, ephemeral, iv),
  };
}

/** What opens and is no environment: a list instead of the object. */
function foreignEnvironment(secret: Uint8Array, ephemeral: Uint8Array, iv: Uint8Array): object {
  const shared = x25519SharedSecret(secret, x25519PublicKey(ephemeral));
  return {
    recipient_secret: toHex(secret),
    recipient_public: toHex(x25519PublicKey(secret)),
    ephemeral_public: toHex(x25519PublicKey(ephemeral)),
    shared_secret_is_aes_key: toHex(shared),
    blob: toHex(sealed("[1]", shared, ephemeral, iv)),
  };
}

/** Ephemeral public key, nonce, ciphertext, tag. */
function sealed(text: string, key: Uint8Array, ephemeral: Uint8Array, iv: Uint8Array): Uint8Array {
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  const parts = [cipher.update(utf8(text)), cipher.final(), cipher.getAuthTag()];
  return concatBytes(x25519PublicKey(ephemeral), iv, ...parts);
}

function launchBindings(): object {
  const inputs = { compose_hash: "c0".repeat(32), app_id: APP_ID, key_provider_id: "0d0e" };
  const compose = hash32(parseHex(inputs.compose_hash));
  const document = JSON.stringify({
    app_id: inputs.app_id,
    compose_hash: inputs.compose_hash,
    gpu_policy_hash: "55".repeat(32),
    instance_id: "44".repeat(20),
    key_provider: "kms",
    key_provider_id: inputs.key_provider_id,
    version: 3,
  });
  return {
    inputs,
    v1: toHex(mrConfigIdV1(compose)),
    v2_kms: toHex(mrConfigIdV2(compose, appId(parseHex(APP_ID)), "kms", parseHex(inputs.key_provider_id))),
    v3: { document, mr_config_id: toHex(mrConfigIdV3(document)) },
  };
}

/** The app's key with the signature of the KMS's root key, by which its chain leads to the root. */
export function appRootKey(): { k256Key: Uint8Array; k256Signature: Uint8Array } {
  return {
    k256Key: APP_K256,
    k256Signature: appKeySignature(ROOT_K256, appId(parseHex(APP_ID)), secp256k1PublicKey(APP_K256)),
  };
}

/** Key of a path, and the app's signature over what it is for and its public key in hex. */
function appKeys(): object {
  const { k256Key, k256Signature } = appRootKey();
  const rows = [
    ["", "", ""],
    ["own/path", "signing", "secp256k1"],
    ["/", "", "secp256k1"],
  ] as const;
  return {
    app_id: APP_ID,
    app_pubkey: toHex(secp256k1PublicKey(k256Key)),
    kms_pubkey: toHex(secp256k1PublicKey(ROOT_K256)),
    get_key: rows.map(([path, purpose, algorithm]) => {
      const key = kdf(k256Key, [utf8(path)]);
      const pubkey = toHex(secp256k1PublicKey(key));
      const signature = signRecoverable(k256Key, utf8(`${purpose}:${pubkey}`));
      return {
        path,
        purpose,
        algorithm,
        key: toHex(key),
        pubkey,
        signature_chain: [signature, k256Signature].map(toHex),
      };
    }),
  };
}

/** The statement of an app's signing keys, in the unpadded base64 of URLs. */
function statements(): object {
  const key = kdf(APP_K256, [utf8("vms")]);
  const ed25519 = createPublicKey(
    createPrivateKey({ key: Buffer.from(rawToPkcs8("ed25519", key)), format: "der", type: "pkcs8" }),
  )
    .export({ type: "spki", format: "der" })
    .subarray(-32);
  return {
    k256_key: toHex(APP_K256),
    dip1_ed25519: `dip1::ed25519-pk:${ed25519.toString("base64url")}`,
    dip1_secp256k1: `dip1::secp256k1c-pk:${Buffer.from(secp256k1PublicKey(key)).toString("base64url")}`,
    ed25519_pubkey: ed25519.toString("hex"),
  };
}
