import { create, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { appId, parseHex, toHex, utf8 } from "@dstack/bytes";
import { envPublicKeySignature, secp256k1PublicKey, x25519PublicKey } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { messageFromJson } from "@dstack/rpc";
import type { Vectors } from "./vectors.ts";

const K256 = parseHex("0c".repeat(32));
const APP = "b2".repeat(20);

/** Messages of the KMS's RPC in both forms, and signatures under the keys that environments are encrypted to. */
export function kmsVectors(): Vectors {
  return {
    "kms/prpc-vectors.json": { vectors: messages(), http: exchanges() },
    "kms/env-pubkey-signatures.json": { vectors: signatures() },
  };
}

function messages(): object[] {
  const row = (schema: DescMessage, json: object, also: readonly object[] = []): object => ({
    message: schema.typeName,
    json,
    ...(also.length === 0 ? {} : { json_accepted_also: also }),
    binary: toHex(toBinary(schema, create(schema, messageFromJson(schema, json) as never))),
  });
  return [
    row(kms.AppIdSchema, { app_id: APP }, [{ app_id: `0x${APP}` }]),
    row(kms.GetAppKeyRequestSchema, { api_version: 2, vm_config: '{"own":1}' }),
    row(kms.PublicKeyResponseSchema, {
      public_key: "01".repeat(32),
      signature: "02".repeat(65),
      timestamp: 1_800_000_000,
      signature_v1: "03".repeat(65),
    }),
    {
      message: "prpc error body",
      json_text: '{\n  "error": "Service not found: Nope"\n}',
      binary: `0a17${toHex(utf8("Service not found: Nope"))}`,
    },
  ];
}

function exchanges(): object[] {
  const text = "Service not found: Absent";
  const key = { path: `/prpc/KMS.GetAppEnvEncryptPubKey?app_id=${APP}`, method: "GET" };
  return [
    {
      id: "no such method, JSON",
      request: { method: "POST", path: "/prpc/KMS.Absent?json", body: "{}" },
      expect: { status: 400, content_type: "application/json", json: { error: text } },
    },
    {
      id: "no such method, binary",
      request: { method: "POST", path: "/prpc/Absent", body: "" },
      expect: { status: 400, content_type: "application/octet-stream", body_hex: `0a19${toHex(utf8(text))}` },
    },
    {
      id: "by GET",
      request: key,
      expect: {
        status: 200,
        content_type: "application/json",
        json_keys: ["public_key", "signature", "timestamp", "signature_v1"],
      },
    },
  ];
}

function signatures(): object[] {
  const publicKey = x25519PublicKey(parseHex("0f".repeat(32)));
  const app = appId(parseHex(APP));
  const signer = toHex(secp256k1PublicKey(K256));
  const time = 1_800_000_000;
  const base = { public_key: toHex(publicKey), app_id: APP };
  const stamped = toHex(envPublicKeySignature(K256, app, publicKey, BigInt(time)));
  const bare = toHex(envPublicKeySignature(K256, app, publicKey, undefined));
  const row = (id: string, signature: string, timestamp: number | null, clock: number, by: string | null): object => ({
    id,
    ...base,
    signature,
    timestamp,
    clock,
    expect: { signer: by },
  });
  return [
    row("without a time", bare, null, time, signer),
    row("now", stamped, time, time, signer),
    row("after 300 seconds", stamped, time, time + 300, signer),
    row("after 301 seconds", stamped, time, time + 301, null),
    row("a minute before its time", stamped, time, time - 60, signer),
    row("61 seconds before its time", stamped, time, time - 61, null),
    row("too short", stamped.slice(2), time, time, null),
    row("a recovery number that there is not", `${stamped.slice(0, -2)}1e`, time, time, null),
    row("zeros", "00".repeat(65), time, time, null),
  ];
}
