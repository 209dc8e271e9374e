import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { allow, keepImages, readAuthConfig, writeAuthConfig } from "../src/deploy/auth-config.ts";

const allowance = { osImageHash: "11".repeat(32), deviceId: "22".repeat(32), appId: "33".repeat(20), composeHash: "44".repeat(32) };

test("allows exactly one image, device, app and compose hash, and nothing twice", async () => {
  const once = allow(await readAuthConfig("/nonexistent/auth-config.json"), allowance);
  assert.deepEqual(once.osImages, [`0x${allowance.osImageHash}`]);
  assert.deepEqual(once.apps[`0x${allowance.appId}`], { composeHashes: [`0x${allowance.composeHash}`], devices: [`0x${allowance.deviceId}`], allowAnyDevice: false });
  assert.deepEqual(allow(once, { ...allowance, appId: `0x${allowance.appId.toUpperCase()}` }), once);
});

test("a new version of an app replaces the old one's hash, and images that are gone lose their place", () => {
  const first = allow({ gatewayAppId: "", osImages: ["0xAA"], apps: {} }, allowance);
  const second = allow(first, { ...allowance, composeHash: "55".repeat(32) });
  assert.deepEqual(second.apps[`0x${allowance.appId}`]?.composeHashes, [`0x${"55".repeat(32)}`]);
  assert.deepEqual(keepImages(second, [allowance.osImageHash]).osImages, [`0x${allowance.osImageHash}`]);
});

test("keeps what it does not know and refuses a broken file without touching it", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "dstack-auth-")), "auth-config.json");
  await writeFile(path, JSON.stringify({ kms: { mrAggregated: ["0xab"] }, extra: 1 }));
  await writeAuthConfig(path, allow(await readAuthConfig(path), allowance));
  const written = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  assert.deepEqual([written["kms"], written["extra"]], [{ mrAggregated: ["0xab"] }, 1]);
  await writeFile(path, "{");
  await assert.rejects(readAuthConfig(path), /not a valid authorization file/);
  assert.equal(await readFile(path, "utf8"), "{");
});
