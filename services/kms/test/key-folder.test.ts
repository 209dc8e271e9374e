import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createLogger } from "@dstack/log";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { checkDomain } from "../src/keys/domain.ts";
import { COMMITTED, KEY_FILES } from "../src/keys/key-files.ts";
import { openKeyStore, type KeyStore } from "../src/keys/key-store.ts";
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

const openFolder = (path: string, domain = "10.0.2.2", now = NOW): Promise<KeyStore> => openKeyStore({ folder: path, autoBootstrapDomain: domain, onboardEnabled: true, now, log });
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
  assert.equal(new X509Certificate((await openFolder(path, "kms.example.com")).rpcCertificatePem).subjectAltName, "DNS:kms.example.com");
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
    await assert.rejects(openFolder(path), (error: unknown) => error instanceof KmsError && error.code === "key-folder-partial" && error.message.includes(name) && /restore .* from a backup/.test(error.message));
    assert.deepEqual((await readdir(path)).toSorted(), before, "nothing is generated");
    assert.equal(await code(bootstrap({ folder: path, domain: "10.0.2.2", now: NOW })), "key-folder-partial");
  }
  const onlyRoot = await folder();
  await cp(join(whole, "root-k256.key"), join(onlyRoot, "root-k256.key"));
  assert.equal(await code(openFolder(onlyRoot)), "key-folder-partial");
});

test("a crash before any step of the bootstrap leaves a folder that the next start can use (DS #1268, #1309)", async () => {
  const steps: string[] = [];
  await bootstrap({ folder: await folder(), domain: "10.0.2.2", now: NOW, beforeStep: (step) => steps.push(step) });
  assert.ok(steps.length > 25, String(steps.length));
  for (const [index, crash] of steps.entries()) {
    const path = await folder();
    let done = 0;
    await assert.rejects(bootstrap({ folder: path, domain: "10.0.2.2", now: NOW, beforeStep: () => {
      if (done++ === index) throw new Error("crash");
    } }), /crash/);
    const committed = await readFile(join(path, COMMITTED, "root-k256.key")).catch(() => readFile(join(path, "root-k256.key"))).catch(() => undefined);
    const keys = await openFolder(path);
    // From the commit on the roots are those of the interrupted run: somebody may have seen them.
    if (index > steps.indexOf("commit")) assert.deepEqual(Buffer.from(keys.rootK256), committed, crash);
    else assert.equal(committed, undefined, crash);
    assert.deepEqual((await openFolder(path)).rootK256, keys.rootK256, crash);
    assert.deepEqual((await readdir(path)).toSorted(), [...KEY_FILES, "bootstrap-info.json", "rpc-domain"].toSorted(), crash);
  }
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

test("without a domain or with onboarding off an empty folder stays empty", async () => {
  const path = await folder();
  assert.equal(await code(openFolder(path, "")), "not-bootstrapped");
  assert.equal(await code(openKeyStore({ folder: path, autoBootstrapDomain: "x", onboardEnabled: false, now: NOW, log })), "not-bootstrapped");
  assert.equal(await code(openFolder(path, "kms_bad")), "config-invalid");
  assert.deepEqual(await readdir(path), []);
});

test("takes DNS names and addresses as domain, and nothing else", () => {
  for (const good of ["kms.example.com", "localhost", "10.0.2.2", "fd00::1", "a-b.c"]) assert.equal(checkDomain(good), good);
  for (const bad of ["", "a".repeat(254), "-kms.example.com", "kms-.example.com", "kms..example.com", "kms_x.example.com", "kms.example.com.", "ü.example", "fe80::1%eth0", "*.example.com"]) {
    assert.throws(() => checkDomain(bad), KmsError, bad);
  }
});
