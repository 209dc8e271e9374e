import assert from "node:assert/strict";
import { test } from "node:test";
import { readSystemInfo } from "../src/agent/system-info.ts";

test("the agent's facts of the machine come from /proc, and a mount point that is none is left out", async () => {
  const info = await readSystemInfo({ osName: "dstack", osVersion: undefined, isDev: false }, ["/", "/nowhere"]);
  assert.deepEqual([info.osName, info.osVersion], ["dstack", ""]);
  assert.ok(info.totalMemory > info.availableMemory && info.availableMemory > 0n);
  assert.equal(info.usedMemory, info.totalMemory - info.availableMemory);
  assert.ok(info.uptime > 0n);
  assert.deepEqual(
    info.disks.map(({ mountPoint }) => mountPoint),
    ["/"],
  );
});
