import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  allowedVersions,
  allowVersion,
  changePolicyFile,
  forgetEmptyApp,
  keepImages,
  readPolicyFile,
  withdrawVersions,
} from "../src/auth/policy-file.ts";

const allowance = {
  osImageHash: "11".repeat(32),
  deviceId: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
};
const folder = await mkdtemp(join(tmpdir(), "dstack-policy-"));
after(() => rm(folder, { recursive: true }));
const path = join(folder, "auth", "auth-config.json");
const file = { path, keyFolder: join(folder, "keys"), env: {} };

test("allows an image, a device, an app and a compose hash, and nothing twice", () => {
  const once = allowVersion({}, allowance);
  assert.deepEqual(once.osImages, [`0x${allowance.osImageHash}`]);
  assert.deepEqual(once.apps?.[`0x${allowance.appId}`], {
    composeHashes: [`0x${allowance.composeHash}`],
    devices: [`0x${allowance.deviceId}`],
  });
  assert.deepEqual(allowVersion(once, { ...allowance, appId: `0x${allowance.appId.toUpperCase()}` }), once);
});

test("a new version of an app is allowed beside the old one, until that is withdrawn", () => {
  const app = allowance.appId;
  const both = allowVersion(allowVersion({}, allowance), { ...allowance, composeHash: "55".repeat(32) });
  assert.deepEqual(allowedVersions(both, app), [`0x${allowance.composeHash}`, `0x${"55".repeat(32)}`]);
  const second = withdrawVersions(both, `0x${app.toUpperCase()}`, [allowance.composeHash]);
  assert.deepEqual(allowedVersions(second, app), [`0x${"55".repeat(32)}`]);
  assert.deepEqual(forgetEmptyApp(second, app), second);
  assert.deepEqual(forgetEmptyApp(withdrawVersions(second, app, ["55".repeat(32)]), app).apps, {});
  assert.deepEqual(withdrawVersions({}, app, ["55".repeat(32)]), {});
});

test("images that are gone lose their place", () => {
  const { osImages } = keepImages(allowVersion({ osImages: ["0xAA"] }, allowance), [allowance.osImageHash]);
  assert.deepEqual(osImages, [`0x${allowance.osImageHash}`]);
});

test("keeps what it does not know and refuses a broken file without touching it", async () => {
  await changePolicyFile(file, () => ({ kms: { mrAggregated: ["0xab"] }, extra: 1 }));
  const differences = await changePolicyFile(file, (policy) => allowVersion(policy, allowance));
  assert.ok(differences.some(({ sign, path: place }) => sign === "+" && place === "osImages"));
  assert.deepEqual(await changePolicyFile(file, (policy) => allowVersion(policy, allowance)), []);
  const { kms, extra } = (await readPolicyFile(path)) as Record<string, unknown>;
  assert.deepEqual([kms, extra], [{ mrAggregated: ["0xab"] }, 1]);
  await writeFile(path, "{");
  await assert.rejects(
    changePolicyFile(file, (policy) => policy),
    /not a valid authorization file/,
  );
  assert.equal(await readFile(path, "utf8"), "{");
});
