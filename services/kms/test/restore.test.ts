import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { toHex, type ReportData } from "@dstack/bytes";
import {
  backupHash,
  decodeBackup,
  decodeSession,
  encodeShare,
  generateOperatorKey,
  openOwnShare,
  operatorKeyFromPem,
  resealShare,
  restoreReportData,
} from "@dstack/key-backup";
import { generateP256 } from "@dstack/keys";
import { makeBackup } from "../src/backup/make-backup.ts";
import { Restore, type RestoreRecord } from "../src/backup/restore.ts";
import { KmsError } from "../src/errors.ts";
import { fakeAttest, silent } from "./setup-service.ts";

async function fixture(authorize: () => Promise<void> = () => Promise.resolve(), tokenRequired = false) {
  const clock = { time: 0, now: () => clock.time };
  const operatorKeys = [0, 1, 2].map(() => generateOperatorKey());
  const operators = { threshold: 2, publicKeys: operatorKeys.map(({ publicKey }) => publicKey) };
  const roots = () => ({ rootCa: generateP256(), tempCa: generateP256(), rootK256: new Uint8Array(randomBytes(32)) });
  const backup = await makeBackup(roots(), operators, Date.now());
  const installed: string[] = [];
  const recorded: RestoreRecord[] = [];
  const asked: ReportData[] = [];
  const restore = new Restore({
    self: {
      attest: (reportData) => {
        asked.push(reportData);
        return fakeAttest(reportData);
      },
      vmConfig: () => Promise.resolve("{}"),
    },
    operators,
    authorize,
    install: (_roots, domain, record) => {
      recorded.push(record);
      return Promise.resolve(void installed.push(domain));
    },
    clock,
    tokenRequired,
    log: silent,
  });
  const share = (session: Uint8Array, operator: number): Uint8Array => {
    const key = operatorKeyFromPem(operatorKeys[operator]!.pem);
    const own = openOwnShare(decodeBackup(backup), key);
    return encodeShare(resealShare(decodeSession(session), own.index, own.share, key));
  };
  return {
    clock,
    restore,
    backup,
    other: await makeBackup(roots(), operators, Date.now()),
    share,
    installed,
    recorded,
    asked,
  };
}

const refused = (text: RegExp) => (error: unknown) =>
  error instanceof KmsError && error.code === "restore-refused" && text.test(error.message);

test("a restore that has shares goes on, whatever a stranger begins beside it", async () => {
  const { restore, backup, other, share, installed } = await fixture();
  const session = await restore.begin(backup, "kms.example.com");
  await restore.submit(share(session, 0));
  const stands = refused(/restore for kms\.example\.com has 1 of 2 shares.*restart this KMS/);
  await assert.rejects(restore.begin(backup, "evil.example.com"), stands);
  await assert.rejects(restore.begin(other, "kms.example.com"), stands);
  assert.deepEqual(await restore.begin(backup, "kms.example.com"), session);
  assert.deepEqual(await restore.submit(share(session, 1)), { received: 2, needed: 2, restored: true });
  assert.deepEqual(installed, ["kms.example.com"]);
});

test("at the last share the auth server is asked again: one that has changed its mind stops the restore", async () => {
  let answer: () => Promise<void> = () => Promise.resolve();
  const { restore, backup, share, installed, recorded } = await fixture(() => answer());
  const session = await restore.begin(backup, "kms.example.com");
  await restore.submit(share(session, 0));
  answer = () => Promise.reject(new KmsError("self-unauthorized", "no more"));
  await assert.rejects(restore.submit(share(session, 1)), { code: "self-unauthorized" });
  assert.deepEqual(installed, []);
  answer = () => Promise.resolve();
  assert.equal((await restore.submit(share(session, 1))).restored, true, "the shares were kept");
  assert.deepEqual(installed, ["kms.example.com"]);
  assert.deepEqual(
    recorded.map(({ backup: hash, operators }) => [hash, operators.length]),
    [[backupHash(backup), 2]],
  );
});

test("before its first share a stranger's restore takes its place only after ten minutes", async () => {
  const { restore, backup, other, clock, share } = await fixture();
  const session = await restore.begin(backup, "kms.example.com");
  clock.time += 10 * 60_000 - 1;
  const stands = refused(/restore for kms\.example\.com has begun.*require_token.*ten minutes.*restart this KMS/);
  await assert.rejects(restore.begin(backup, "evil.example.com"), stands);
  await assert.rejects(restore.begin(other, "kms.example.com"), stands);
  assert.deepEqual(await restore.begin(backup, "kms.example.com"), session, "whoever goes on with it may");
  clock.time += 1;
  await restore.begin(other, "kms.example.com");
  await assert.rejects(restore.submit(share(session, 0)));
});

test("before its first share a restore gives way to another with the token, which takes nothing that was sealed for it", async () => {
  const { restore, backup, share, installed } = await fixture(undefined, true);
  const first = await restore.begin(backup, "kms.exmaple.com");
  const second = await restore.begin(backup, "kms.example.com");
  await assert.rejects(restore.submit(share(first, 0)), /sealed to another session/);
  await restore.submit(share(second, 0));
  await restore.submit(share(second, 2));
  assert.deepEqual(installed, ["kms.example.com"]);
});

test("the session that operators check names the domain, and its evidence is bound to it", async () => {
  const { restore, backup, asked } = await fixture();
  const session = decodeSession(await restore.begin(backup, "kms.example.com"));
  assert.equal(session.domain, "kms.example.com");
  assert.deepEqual(asked.map(toHex), [toHex(restoreReportData(session))]);
  assert.notEqual(toHex(asked[0]!), toHex(restoreReportData({ ...session, domain: "evil.example.com" })));
});
