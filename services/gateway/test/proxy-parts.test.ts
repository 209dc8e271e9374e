import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { generateWireGuardKeys, parseIpv4 } from "@dstack/wireguard";
import { Certificates } from "../src/proxy/certificates.ts";
import { proxyHeaderV2 } from "../src/proxy/proxy-header.ts";
import { Watchdog } from "../src/proxy/watchdog.ts";
import { staleInstances } from "../src/recycle.ts";
import { Committer } from "../src/registration/committer.ts";
import { memoryLog } from "./support/log.ts";
import { serverCertificate } from "./support/pki.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

vectorTest("PROXY headers have the bytes of the vectors", "gateway/proxy-protocol.json", ({ json }) => {
  for (const row of json<{ outbound_synthesised: { peer: string; local: string; hex: string }[] }>(
    "gateway/proxy-protocol.json",
  ).outbound_synthesised) {
    const [remoteAddress = "", remotePort] = row.peer.split(":");
    const [localAddress = "", localPort] = row.local.split(":");
    assert.equal(
      toHex(
        proxyHeaderV2({ remoteAddress, remotePort: Number(remotePort), localAddress, localPort: Number(localPort) }),
      ),
      row.hex,
    );
  }
});

test("IPv6 ends and mapped IPv4 ends are told as what they are, mixed ones as unknown", () => {
  const v6 = proxyHeaderV2({ remoteAddress: "2001:db8::1", remotePort: 1, localAddress: "::1", localPort: 2 });
  assert.equal(
    toHex(v6.subarray(12)),
    `21210024${"20010db8000000000000000000000001"}${"00000000000000000000000000000001"}00010002`,
  );
  assert.equal(
    proxyHeaderV2({ remoteAddress: "::ffff:1.2.3.4", remotePort: 1, localAddress: "5.6.7.8", localPort: 2 })[13],
    0x11,
  );
  assert.equal(
    toHex(proxyHeaderV2({ remoteAddress: "::1", remotePort: 1, localAddress: "5.6.7.8", localPort: 2 }).subarray(12)),
    "21000000",
  );
});

test("the watchdog ends what is idle or too old, and nothing that moves", () => {
  let now = 0;
  const killed: string[] = [];
  const dog = new Watchdog({ idleMs: 1_000, totalMs: 5_000, now: () => now });
  let bytes = 0;
  const isLeft = (): boolean => false;
  dog.watch({ isLeft, progress: () => bytes, startedAt: 0, kill: (why) => killed.push(`moving ${why}`) });
  dog.watch({ isLeft, progress: () => 0, startedAt: 0, kill: (why) => killed.push(`idle ${why}`) });
  const done = dog.watch({ isLeft, progress: () => 0, startedAt: 0, kill: () => killed.push("ended") });
  done();
  for (now = 500; now <= 4_500; now += 500) {
    bytes += 1;
    dog.sweep();
  }
  assert.deepEqual(killed, ["idle connection idle, closing"]);
  now = 5_000;
  dog.sweep();
  dog.sweep();
  assert.deepEqual(killed.slice(1), ["moving connection kept too long, force closing"]);
});

test("the watchdog ends what a client left with bytes unread long before it is idle", () => {
  let now = 0;
  const killed: string[] = [];
  const dog = new Watchdog({ idleMs: 600_000, totalMs: 6_000_000, now: () => now });
  for (const [name, isLeft] of [
    ["left", true],
    ["waiting", false],
  ] as const)
    dog.watch({ isLeft: () => isLeft, progress: () => 0, startedAt: 0, kill: (why) => killed.push(`${name}: ${why}`) });
  for (now = 15_000; now <= 60_000; now += 15_000) dog.sweep();
  assert.deepEqual(killed, ["left: the client left, closing"]);
});

test("changes of one window share one write, later ones wait for the next, and a failure reaches those who asked", async () => {
  let writes = 0;
  let failing = false;
  const gate: { open: () => void } = { open: () => undefined };
  const committer = new Committer(async () => {
    writes += 1;
    await new Promise<void>((resolve) => {
      gate.open = resolve;
      setTimeout(resolve, 20);
    });
    if (failing) throw new Error("disk full");
  }, 5);
  await Promise.all([committer.commit(), committer.commit(), committer.commit()]);
  assert.equal(writes, 1);
  const first = committer.commit();
  await new Promise((resolve) => setTimeout(resolve, 12));
  const during = [committer.commit(), committer.commit()];
  await Promise.all([first, ...during]);
  assert.equal(writes, 3);
  failing = true;
  await assert.rejects(committer.commit(), /disk full/);
  failing = false;
  await committer.commit();
  assert.equal(writes, 5);
});

test("only what was silent for the whole time, the gateway's own absence not counted, is recycled", () => {
  const instance = (n: number, registeredAt: number) => ({
    instanceId: `${n}`,
    appId: "a",
    address: parseIpv4("10.0.0.2"),
    publicKey: generateWireGuardKeys().publicKey,
    composeHash: "",
    registeredAt,
    portPolicy: undefined,
  });
  const [old, fresh, alive] = [instance(1, 0), instance(2, 9_000), instance(3, 0)];
  const options = {
    nowMs: 10_000_000,
    timeoutMs: 3_600_000,
    latestHandshake: (key: string) => (key === alive.publicKey ? 9_500 : undefined),
  };
  assert.deepEqual(staleInstances([old, fresh, alive], { ...options, startedAtMs: 0 }), [old]);
  assert.deepEqual(staleInstances([old, fresh, alive], { ...options, startedAtMs: 9_000_000 }), []);
});

const pair = async (folder: string, cert: string, key: string): Promise<void> => {
  await writeFile(join(folder, "c.pem"), cert);
  await writeFile(join(folder, "k.pem"), key);
};

test("a certificate is replaced only by a good one; a bad one leaves the old in service (DS #1239, #898)", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-gateway-cert-"));
  t.after(() => rm(folder, { recursive: true }));
  let now = Date.now();
  const { log, lines } = memoryLog();
  const certificates = new Certificates({
    source: { baseDomain: "apps.test", certChain: join(folder, "c.pem"), certKey: join(folder, "k.pem") },
    tlsVersions: ["1.2", "1.3"],
    log,
    now: () => now,
  });
  await certificates.reload();
  assert.equal(certificates.current?.fromFiles, false, "a self-signed one serves until there are files");
  assert.ok(certificates.forDomain("apps.test")?.leaf.checkHost("x.apps.test"));
  assert.equal(certificates.forDomain("other.test"), undefined);
  const [one, two] = [serverCertificate("*.apps.test"), serverCertificate("*.apps.test")];
  await pair(folder, one.certificatePem, one.keyPem);
  assert.equal(await certificates.reload(), true);
  assert.equal(await certificates.reload(), false, "nothing changed");
  const served = certificates.current;
  for (const [cert, key] of [
    [two.certificatePem, one.keyPem],
    ["garbage", one.keyPem],
    [two.certificatePem, ""],
  ] as const) {
    await pair(folder, cert, key);
    assert.equal(await certificates.reload(), false);
    assert.equal(certificates.current, served);
  }
  assert.ok(lines.some((line) => line.includes("the key is not the certificate's")));
  now += 20 * 365 * 86_400_000;
  await pair(folder, two.certificatePem, two.keyPem);
  assert.equal(await certificates.reload(), false, "expired");
  now = Date.now();
  await pair(folder, `${two.certificatePem}\n`, two.keyPem);
  assert.equal(await certificates.reload(), true);
});

test("a wildcard certificate in files serves its domain, and is warned of where it covers another", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-gateway-wildcard-"));
  t.after(() => rm(folder, { recursive: true }));
  const { certificatePem, keyPem } = serverCertificate("*.apps.test");
  await pair(folder, certificatePem, keyPem);
  for (const [baseDomain, isCovered] of [
    ["apps.test", true],
    ["other.test", false],
  ] as const) {
    const { log, lines } = memoryLog();
    const certificates = new Certificates({
      source: { baseDomain, certChain: join(folder, "c.pem"), certKey: join(folder, "k.pem") },
      tlsVersions: ["1.2"],
      log,
      now: Date.now,
    });
    await certificates.reload();
    assert.equal(certificates.current?.fromFiles, true);
    assert.ok(certificatePem.startsWith(certificates.current?.leaf.toString().trim() ?? "none"));
    assert.equal(!lines.some((line) => line.includes("does not cover")), isCovered);
  }
});
