import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decodeAttestation, generatedKeysReportData, type Attestation } from "@dstack/attest";
import { parseHex, toHex, type ReportData } from "@dstack/bytes";
import { secp256k1PublicKey } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { checkDomain } from "../src/keys/domain.ts";
import { installRootKeys, type RootKeys } from "../src/keys/install-root-keys.ts";
import { COMMITTED, INFO_FILE, KEY_FILES, keyFolderState, OWN_FILES } from "../src/keys/key-files.ts";
import { openKeyStore, settleKeyFolder, type KeyStore } from "../src/keys/key-store.ts";
import { KmsError } from "../src/errors.ts";

const NOW = 1_764_000_000;
const log = createLogger({ name: "test", stream: { write: () => true } });
let base: string;
let count = 0;
before(async () => {
  base = await mkdtemp(join(tmpdir(), "kms-keys-"));
});
after(() => rm(base, { recursive: true }));

async function folder(): Promise<string> {
  const path = join(base, String(count++));
  await mkdir(path);
  return path;
}

/** A start: bootstraps an empty folder. */
async function openFolder(path: string, domain = "10.0.2.2", now = NOW): Promise<KeyStore> {
  if ((await settleKeyFolder(path, log)) === "empty") await bootstrap({ folder: path, domain, now, attest: undefined });
  return openKeyStore({ folder: path, domain, now });
}
const code = async (run: Promise<unknown>): Promise<string> => {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof KmsError, String(error));
    return error.code;
  }
  return "accepted";
};

test("bootstraps an empty folder once and opens the same keys ever after", async () => {
  const path = await folder();
  const first = await openFolder(path);
  const again = await openFolder(path);
  assert.deepEqual(again.rootCa.key, first.rootCa.key);
  assert.deepEqual(again.rootK256, first.rootK256);
  assert.equal(again.rootCa.pem, first.rootCa.pem, "peers store this text");
  assert.deepEqual((await readdir(path)).toSorted(), [...KEY_FILES, "bootstrap-info.json", "rpc-domain"].toSorted());
  for (const name of KEY_FILES) assert.equal((await stat(join(path, name))).mode & 0o777, 0o600, name);
  const info = JSON.parse(await readFile(join(path, "bootstrap-info.json"), "utf8")) as Record<string, string>;
  assert.match(info["ca_pubkey"]!, /^3059/);
  assert.equal(info["k256_pubkey"]!.length, 66);
});

test("the RPC certificate is for the address or name that guests use, and follows a change of it", async () => {
  const path = await folder();
  assert.equal(new X509Certificate((await openFolder(path)).rpcCertificatePem).subjectAltName, "IP Address:10.0.2.2");
  assert.equal(
    new X509Certificate((await openFolder(path, "kms.example.com")).rpcCertificatePem).subjectAltName,
    "DNS:kms.example.com",
  );
  const kept = await openFolder(path, "");
  assert.equal(kept.domain, "kms.example.com");
  assert.ok(new X509Certificate(kept.rpcCertificatePem).verify(new X509Certificate(kept.rootCa.pem).publicKey));
});

test("CA certificates are renewed in their last year only, with the same key", async () => {
  const path = await folder();
  const first = await openFolder(path);
  const end = first.rootCa.certificate.notAfter;
  assert.equal((await openFolder(path, "10.0.2.2", end - 365 * 86_400 - 1)).rootCa.pem, first.rootCa.pem);
  const renewed = await openFolder(path, "10.0.2.2", end - 365 * 86_400);
  assert.notEqual(renewed.rootCa.pem, first.rootCa.pem);
  assert.deepEqual(renewed.rootCa.key, first.rootCa.key);
});

test("a folder with any file missing is left as it is, with instructions (#610, DS #1305)", async () => {
  const whole = await folder();
  await openFolder(whole);
  for (const name of KEY_FILES) {
    const path = await folder();
    await cp(whole, path, { recursive: true });
    await rm(join(path, name));
    const before = (await readdir(path)).toSorted();
    await assert.rejects(
      openFolder(path),
      (error: unknown) =>
        error instanceof KmsError &&
        error.code === "key-folder-partial" &&
        error.message.includes(name) &&
        /restore .* from a backup/.test(error.message),
    );
    assert.deepEqual((await readdir(path)).toSorted(), before, "nothing is generated");
    assert.equal(
      await code(bootstrap({ folder: path, domain: "10.0.2.2", now: NOW, attest: undefined })),
      "already-bootstrapped",
    );
    assert.deepEqual((await readdir(path)).toSorted(), before, "nothing is left behind");
  }
  const onlyRoot = await folder();
  await cp(join(whole, "root-k256.key"), join(onlyRoot, "root-k256.key"));
  assert.equal(await code(openFolder(onlyRoot)), "key-folder-partial");
});

test("committed files never replace a key that is already there", async () => {
  const path = await folder();
  await openFolder(path);
  const other = await folder();
  await openFolder(other);
  await cp(other, join(path, COMMITTED), { recursive: true });
  const before = await readFile(join(path, "root-ca.key"));
  assert.equal(await code(openFolder(path)), "key-folder-partial");
  assert.deepEqual(await readFile(join(path, "root-ca.key")), before);
});

test("refuses keys that do not fit together or cannot be read", async () => {
  const whole = await folder();
  await openFolder(whole);
  const edits: readonly [string, string | Uint8Array][] = [
    ["root-ca.key", await readFile(join(whole, "tmp-ca.key"))],
    ["root-ca.key", "nonsense"],
    ["tmp-ca.crt", await readFile(join(whole, "root-ca.crt"))],
    ["root-k256.key", new Uint8Array(31)],
    ["root-k256.key", new Uint8Array(32)],
    ["rpc.key", ""],
  ];
  for (const [name, content] of edits) {
    const path = await folder();
    await cp(whole, path, { recursive: true });
    await writeFile(join(path, name), content);
    assert.equal(await code(openFolder(path)), "key-folder-invalid", name);
  }
});

test("a bad domain or evidence that cannot be had leave an empty folder empty", async () => {
  const path = await folder();
  assert.equal(await code(openFolder(path, "")), "config-invalid");
  assert.equal(await code(openFolder(path, "kms_bad")), "config-invalid");
  await assert.rejects(
    bootstrap({ folder: path, domain: "kms", now: NOW, attest: () => Promise.reject(new Error("no agent")) }),
    /no agent/,
  );
  assert.equal(await code(openKeyStore({ folder: path, domain: "kms", now: NOW })), "not-bootstrapped");
  assert.deepEqual(await readdir(path), []);
});

test("new roots are put on record before they count, and do not count where that fails", async () => {
  const path = await folder();
  const seen: (string | readonly string[])[] = [];
  const record = async ({ rootK256 }: RootKeys, domain: string): Promise<void> => {
    seen.push(domain, toHex(secp256k1PublicKey(rootK256)), (await keyFolderState(path)).kind);
    if (domain === "unlucky") throw new Error("disk full");
  };
  const options = { folder: path, now: NOW, attest: undefined, record };
  await assert.rejects(bootstrap({ ...options, domain: "unlucky" }), /disk full/);
  assert.deepEqual(await readdir(path), []);
  const { k256Pubkey } = await bootstrap({ ...options, domain: "kms" });
  assert.deepEqual(seen.slice(3), ["kms", toHex(k256Pubkey), "empty"]);
});

test("foreign files in the folder are nobody's business, and an old domain file is replaced", async () => {
  const path = await folder();
  const foreign = {
    "rpc-domain": "old.example",
    "README.txt": "hi",
    "root-ca.key.bak": "not ours",
    ".root-ca.key.zz.tmp": "nor this",
  };
  for (const [name, text] of Object.entries(foreign)) await writeFile(join(path, name), text);
  await mkdir(join(path, "lost+found"));
  await writeFile(join(path, ".rpc.crt.0123456789ab.tmp"), "what a kill left of ours");
  const keys = await openFolder(path, "kms.example.com");
  assert.equal(keys.domain, "kms.example.com");
  assert.deepEqual(
    (await readdir(path)).toSorted(),
    [...OWN_FILES, "README.txt", "root-ca.key.bak", ".root-ca.key.zz.tmp", "lost+found"].toSorted(),
  );
  assert.equal(await readFile(join(path, "root-ca.key.bak"), "utf8"), "not ours");
});

test("of many bootstraps at once one makes the keys (#610)", async () => {
  const path = await folder();
  const runs = await Promise.allSettled(
    Array.from({ length: 8 }, () => bootstrap({ folder: path, domain: "kms", now: NOW, attest: undefined })),
  );
  const done = runs.filter((run) => run.status === "fulfilled");
  assert.equal(done.length, 1);
  for (const run of runs)
    if (run.status === "rejected") assert.equal((run.reason as KmsError).code, "already-bootstrapped");
  assert.deepEqual((await openFolder(path)).rootK256PublicKey, done[0]?.value.k256Pubkey);
});

test("a replica gets the roots of its source, an RPC key of its own and its own name", async () => {
  const path = await folder();
  const source = await openFolder(path);
  const other = await folder();
  const roots = { rootCa: source.rootCa.key, tempCa: source.tempCa.key, rootK256: source.rootK256 };
  await installRootKeys({ folder: other, roots, domain: "replica.example", now: NOW + 5 });
  const replica = await openKeyStore({ folder: other, domain: "", now: NOW + 5 });
  assert.deepEqual(
    [replica.rootCa.key, replica.tempCa.key, replica.rootK256],
    [source.rootCa.key, source.tempCa.key, source.rootK256],
  );
  assert.notDeepEqual(replica.rpcKey, source.rpcKey);
  assert.equal(replica.domain, "replica.example");
  assert.deepEqual(replica.bootstrapInfo, { ...source.bootstrapInfo, attestation: new Uint8Array() });
  assert.equal(
    await code(installRootKeys({ folder: other, roots, domain: "replica.example", now: NOW })),
    "already-bootstrapped",
  );
});

test("bootstrap-info.json carries evidence over both root keys, in the form of every release (DS #539)", async () => {
  const path = await folder();
  const asked: Uint8Array[] = [];
  const attest = (reportData: ReportData): Promise<Attestation> => {
    asked.push(reportData);
    return Promise.resolve({
      platform: { kind: "tdx", quote: Uint8Array.of(9, 9), eventLog: [] },
      runtimeEvents: [{ event: "app-id", payload: Uint8Array.of(1) }],
      reportData,
      config: "{}",
    });
  };
  const told = await bootstrap({ folder: path, domain: "kms", now: NOW, attest });
  const info = JSON.parse(await readFile(join(path, INFO_FILE), "utf8")) as Record<string, string>;
  assert.deepEqual(Object.keys(info), ["ca_pubkey", "k256_pubkey", "attestation", "quote", "eventlog"]);
  assert.deepEqual(info, {
    ca_pubkey: toHex(told.caPubkey),
    k256_pubkey: toHex(told.k256Pubkey),
    attestation: toHex(told.attestation),
    quote: "0909",
    eventlog: toHex(told.eventlog),
  });
  assert.deepEqual(asked, [generatedKeysReportData(told.caPubkey, told.k256Pubkey)]);
  assert.deepEqual(decodeAttestation(told.attestation).platform.quote, Uint8Array.of(9, 9));
  assert.match(Buffer.from(told.eventlog).toString(), /app-id/);
});

test("the report data of a bootstrap is the released one", () => {
  const spki = parseHex(
    "3059301306072a8648ce3d020106082a8648ce3d0301070342000491f50522407ce29dce3ed7d31a15d80c1c42f13a23552d2b33a0ce09ee11e47bce95936f3e7f80d195f879e28e1b144ef37ac9ab8e36a690cbf930b775897b27",
  );
  const k256 = parseHex("0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c");
  assert.equal(
    toHex(generatedKeysReportData(spki, k256)),
    `7040375da0310e22aaea37615694d9b3d6700ed24a36655cc3cbc3d99917b766${"00".repeat(32)}`,
  );
});

test("takes DNS names and addresses as domain, and nothing else", () => {
  for (const good of ["kms.example.com", "localhost", "10.0.2.2", "fd00::1", "a-b.c"])
    assert.equal(checkDomain(good), good);
  for (const bad of [
    "",
    "a".repeat(254),
    "-kms.example.com",
    "kms-.example.com",
    "kms..example.com",
    "kms_x.example.com",
    "kms.example.com.",
    "ü.example",
    "fe80::1%eth0",
    "*.example.com",
  ]) {
    assert.throws(() => checkDomain(bad), KmsError, bad);
  }
});
