import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createServer, type Server } from "node:http";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { after, before, test } from "node:test";
import { pack } from "tar-stream";
import { Harness } from "./harness.ts";

let harness: Harness;
const servers: Server[] = [];
before(async () => {
  harness = await Harness.create();
});
after(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await harness.close();
});

/** Restarts the KMS with changes and says what a good guest gets. */
async function withConfig(change: Readonly<Record<string, string>>): Promise<string> {
  await harness.kms?.close();
  await harness.start({ "core.image.cache_dir": `"${harness.folder}/cache-${Math.random()}"`, ...change });
  return harness.refusalOf(harness.guest());
}

async function serve(
  handle: (path: string) => { readonly status?: number; readonly body?: string | Uint8Array } | undefined,
): Promise<string> {
  const server = createServer((request, response) => {
    const answer = handle(request.url ?? "");
    // Undefined: never answers.
    if (answer !== undefined) response.writeHead(answer.status ?? 200).end(answer.body);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const canMount = process.getuid?.() === 0;
test(
  "no key leaves while the audit line cannot be written",
  { skip: canMount ? false : "needs root to mount a small tmpfs" },
  async (t) => {
    const disk = await mkdtemp(join(tmpdir(), "kms-audit-disk-"));
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]).status !== 0) {
      await rm(disk, { recursive: true });
      t.skip("cannot mount a tmpfs here");
      return;
    }
    try {
      assert.equal(await withConfig({ "core.audit_log": `"${disk}/audit.jsonl"` }), "released");
      await writeFile(join(disk, "ballast"), new Uint8Array(12_288));
      let text = "released";
      // The line's page may have room for a few more lines.
      for (let i = 0; i < 12 && text === "released"; i++) text = await harness.refusalOf(harness.guest());
      assert.match(text, /^App not allowed: audit log .* cannot be written, so nothing is released/);
      await rm(join(disk, "ballast"));
      assert.equal(await harness.refusalOf(harness.guest()), "released");
      await harness.kms.close();
    } finally {
      spawnSync("umount", [disk]);
      await rm(disk, { recursive: true });
    }
  },
);

test("a release while the webhook answers nonsense, denies without keys or hangs never happens", async () => {
  for (const [answer, expected] of [
    [{ body: "{}" }, /failed to decode response/],
    [{ body: '{"isAllowed":true}' }, /failed to decode response/],
    [{ status: 500, body: '{"isAllowed":true,"reason":"","gatewayAppId":""}' }, /returned 500/],
    [{ status: 302, body: "" }, /could not be asked|returned 302/],
    [{ body: "x".repeat(100_000) }, /exceeds 65536 bytes/],
    [undefined, /no answer within 300 ms/],
  ] as const) {
    const url = await serve(() => answer);
    const text = await withConfig({
      "core.auth_api.webhook.url": `"${url}"`,
      "core.auth_api.webhook.timeout": answer === undefined ? '"300ms"' : '"60s"',
    });
    assert.match(text, /^App not allowed: /);
    assert.match(text, expected);
    assert.doesNotMatch(text, /denied:/);
  }
});

const member = gzipSync(Buffer.alloc(16 * 1024 * 1024));

test("an image that is missing, of another content, a bomb or endless in coming is refused", async () => {
  const tarOf = async (name: string, content: string, type: "file" | "symlink" = "file"): Promise<Uint8Array> => {
    const archive = pack();
    archive.entry(type === "file" ? { name } : { name, type, linkname: "/etc/passwd" }, content);
    archive.finalize();
    const chunks: Uint8Array[] = [];
    for await (const chunk of archive) chunks.push(chunk as Uint8Array);
    return gzipSync(Buffer.concat(chunks));
  };
  // 320 MiB, as members of one archive.
  const bomb = Buffer.concat(Array.from({ length: 20 }, () => member));
  for (const [answer, expected] of [
    [{ status: 404 }, /Failed to download image [0-9a-f]{64}: Failed to download image: HTTP status 404/],
    [{ body: "no archive" }, /Failed to download image .*is refused/],
    [{ body: await tarOf("readme", "x") }, /sha256sum\.txt not found/],
    [{ body: await tarOf("../../escape", "x") }, /not a plain file name/],
    [{ body: await tarOf("link", "", "symlink") }, /only regular files/],
    [{ body: await tarOf("metadata.json", "{}") }, /sha256sum\.txt/],
    [{ body: bomb }, /is refused/],
    [undefined, /Download image timeout/],
  ] as const) {
    const url = await serve(() => answer);
    const text = await withConfig({
      "core.image.download_url": `"${url}/{OS_IMAGE_HASH}.tar.gz"`,
      "core.image.download_timeout": answer === undefined ? '"1s"' : '"60s"',
    });
    assert.match(text, /^App not allowed: /);
    assert.match(text, expected);
  }
});

test("images are asked for after the auth server allowed the caller, never before", async () => {
  let asked = 0;
  const url = await serve(() => {
    asked++;
    return { status: 404 };
  });
  await harness.allow({ osImages: [] });
  assert.match(await withConfig({ "core.image.download_url": `"${url}/{OS_IMAGE_HASH}"` }), /Boot denied/);
  assert.equal(asked, 0);
  await harness.allow({});
  await harness.refusalOf(harness.guest());
  assert.equal(asked, 1);
});

test("collateral that cannot be fetched refuses the quote and names the server", async () => {
  const text = await withConfig({ "core.attestation.urls.pccs": '"http://127.0.0.1:9"' });
  assert.match(text, /^invalid quote: collateral: collateral server 127\.0\.0\.1:9/);
});

test("collateral on disk bridges an outage of every server over a restart, and the next server one of the first", async () => {
  const dead = "http://127.0.0.1:9";
  const cache = { "core.image.cache_dir": `"${harness.folder}/kept"` };
  const live = `http://127.0.0.1:${harness.upstreamPorts.pccs}`;
  assert.equal(await withConfig({ ...cache, "core.attestation.urls.pccs": `["${dead}", "${live}"]` }), "released");
  assert.match(harness.sink.text, /a server of collateral or its cache failed/);
  assert.equal(await withConfig({ ...cache, "core.attestation.urls.pccs": `"${dead}"` }), "released");
});

test("a policy file refuses machines, evaluations and old documents, and warns before (SECURITY #613, TEE.fail)", async () => {
  const file = join(harness.folder, "policy.json");
  const judged = async (policy: unknown): Promise<string> => {
    await writeFile(file, JSON.stringify(policy));
    return withConfig({ "core.attestation.policy": `"${file}"`, "core.enforce_self_authorization": "false" });
  };
  assert.match(await judged({ denied_ppids: ["00".repeat(16)] }), /^invalid quote: policy-platform: PPID 0+ is one/);
  assert.match(await judged({ min_tcb_evaluation_number: 2 }), /policy-collateral: TCB info is of evaluation 1/);
  const old = { warn_days: 0.5, max_days: 0.9 };
  assert.match(await judged({ max_collateral_age: { tcb_info: old } }), /policy-collateral: TCB info of .* takes 0\.9/);
  assert.equal(await judged({ max_collateral_age: { tcb_info: { warn_days: 0.5, max_days: 9 } } }), "released");
  const warned = (): number => harness.sink.text.split("the policy will refuse what it takes today").length - 1;
  const once = warned();
  assert.ok(once >= 1);
  assert.equal(await harness.refusalOf(harness.guest()), "released");
  assert.equal(warned(), once, "once for each edition");
  await assert.rejects(
    judged({ max_age: 1 }),
    /core\.attestation\.policy: .*policy\.json: policy: unknown member "max_age"/,
  );
});

test("the root that a development folder trusts is the configured one alone", async () => {
  const other = await Harness.create();
  await other.start();
  try {
    await writeFile(join(harness.folder, "other-root.pem"), other.pki.rootPem);
    assert.match(
      await withConfig({ "core.attestation.root_ca.tdx": `"${harness.folder}/other-root.pem"` }),
      /^invalid quote: /,
    );
  } finally {
    await other.close();
  }
  await assert.rejects(
    withConfig({ "core.attestation.root_ca.tdx": `"${harness.folder}/missing.pem"` }),
    /root_ca.tdx: .* cannot be read/,
  );
});
