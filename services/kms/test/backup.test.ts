import assert from "node:assert/strict";
import { createCipheriv, randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { AuditEntry, AuditLog } from "@dstack/audit-log";
import { concatBytes, toHex } from "@dstack/bytes";
import { backupHash, decodeBackup, generateOperatorKey, headerHash, type BackupHeader } from "@dstack/key-backup";
import { generateP256, secp256k1PublicKey, spkiDer } from "@dstack/keys";
import type { HttpExchange } from "@dstack/rpc";
import { split } from "shamir-secret-sharing";
import { backupRoute } from "../src/backup/backup-routes.ts";
import { openBackup } from "../src/backup/open-backup.ts";
import { createRootCa, createTempCa } from "../src/certificates/kms-certificates.ts";
import { KmsError } from "../src/errors.ts";
import type { KeyStore } from "../src/keys/key-store.ts";
import { silent } from "./setup-service.ts";

const NOW = 1_764_000_000;
const operators = { threshold: 2, publicKeys: [0, 1, 2].map(() => generateOperatorKey().publicKey) };
const keys = {
  rootCa: createRootCa(generateP256(), NOW),
  tempCa: createTempCa(generateP256(), NOW),
  rootK256: new Uint8Array(32).fill(42),
} as unknown as KeyStore;

/** `POST /backup` on a KMS whose audit log is this. */
async function ask(
  append: (entry: AuditEntry) => Promise<void>,
  settingsAgainstHandOver: readonly string[] = [],
): Promise<{ status: number; body: Uint8Array }> {
  const answer: { status: number; body: Uint8Array } = { status: 0, body: new Uint8Array() };
  const response = {
    writeHead: (status: number) => {
      answer.status = status;
      return response;
    },
    end: (body: Uint8Array) => (answer.body = body),
  };
  const route = backupRoute({
    keys,
    settingsAgainstHandOver,
    audit: { append } as AuditLog,
    clock: { now: () => NOW * 1000 },
    log: silent,
    config: { backup: operators },
  });
  const request = { socket: { remoteAddress: "192.0.2.1" } };
  await route.handle({ request, response: response as unknown as ServerResponse, requestId: "r" } as HttpExchange);
  return answer;
}

test("a backup leaves when the audit log says which one, to whom, and who asked", async () => {
  const lines: AuditEntry[] = [];
  const { status, body } = await ask(async (entry) => void lines.push(entry));
  assert.equal(status, 200);
  assert.equal(decodeBackup(body).header.threshold, 2);
  assert.deepEqual(lines, [
    {
      action: "backup",
      requestId: "r",
      remoteAddress: "192.0.2.1",
      outcome: "released",
      backup: backupHash(body),
      threshold: 2,
      operators: operators.publicKeys.map(toHex),
    },
  ]);
});

test("a refusal says why, by which code and for which request (PC #506)", async () => {
  const lines: AuditEntry[] = [];
  const { status, body } = await ask(async (entry) => void lines.push(entry), ["core.x = true"]);
  const { error, code, next, request_id: id } = JSON.parse(Buffer.from(body).toString()) as Record<string, string>;
  assert.deepEqual([status, code, id], [400, "backup-refused", "r"]);
  assert.match(error ?? "", /core\.x = true/);
  assert.match(next ?? "", /kms\.toml.*`dstack kms backup`/, "and what to do next");
  assert.deepEqual(
    lines.map(({ outcome, requestId }) => [outcome, requestId]),
    [["refused", "r"]],
  );
});

test("no backup leaves while the audit log cannot be written", async () => {
  await assert.rejects(
    ask(() => Promise.reject(new Error("disk full"))),
    /disk full/,
  );
});

test("restored keys are those whose public keys the backup names, whatever its shares open", async () => {
  const roots = { rootCa: generateP256(), tempCa: generateP256(), rootK256: new Uint8Array(randomBytes(32)) };
  const sealed = async (named: Pick<BackupHeader, "rootCaPublicKey" | "rootK256PublicKey">) => {
    const header: BackupHeader = {
      id: "00".repeat(16),
      created: new Date(0).toISOString(),
      threshold: 2,
      operators: operators.publicKeys,
      ...named,
    };
    const key = new Uint8Array(randomBytes(32));
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(headerHash(header));
    const plain = concatBytes(roots.rootCa.scalar, roots.tempCa.scalar, roots.rootK256);
    const sealedKeys = concatBytes(nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag());
    const shares = await split(key, 3, 2);
    return openBackup({ header, sealedKeys } as Parameters<typeof openBackup>[0], shares.slice(1));
  };
  const own = {
    rootCaPublicKey: spkiDer(roots.rootCa),
    rootK256PublicKey: secp256k1PublicKey(roots.rootK256),
  };
  assert.deepEqual(await sealed(own), roots);
  for (const other of [
    { ...own, rootCaPublicKey: spkiDer(generateP256()) },
    { ...own, rootK256PublicKey: secp256k1PublicKey(new Uint8Array(32).fill(7)) },
  ])
    await assert.rejects(
      sealed(other),
      (error: unknown) =>
        error instanceof KmsError && error.code === "restore-refused" && /are not those/.test(error.message),
    );
});
