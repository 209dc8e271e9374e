import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ImageDirectory } from "@dstack/image";
import { createLogger } from "@dstack/log";
import { raiseSites } from "../../../libs/errors/test/refusals/raise-sites.ts";
import { assertWords, walkRefusals } from "../../../libs/errors/test/refusals/walk.ts";
import { relayToKeyProvider } from "../src/api/key-provider.ts";
import { checkAutoRestart } from "../src/config/check-config.ts";
import { VMM_ERRORS } from "../src/errors.ts";
import { checkCapacity, checkImageFits, checkName, readCompose } from "../src/fleet/vm-request.ts";
import { growDisk } from "../src/launch/guest-disk.ts";
import { loadGuestImage } from "../src/launch/guest-image.ts";
import { createIdPool, cidFor } from "../src/launch/id-pool.ts";
import { checkTcgVersion } from "../src/launch/qemu-binary.ts";
import { ensureSupervisor } from "../src/supervisor/supervisor-start.ts";
import type { SupervisorClient } from "../src/supervisor/supervisor-client.ts";
import type { VmFolder } from "../src/vm/vm-folder.ts";
import { parseManifest } from "../src/vm/manifest.ts";

const log = createLogger({ name: "test", level: "off" });
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmm-refusals-"));
});
after(() => rm(folder, { recursive: true }));
const LIMITS = { maxAllocableVcpu: 4, maxAllocableMemoryInMb: 4096 };
const image = { name: "dstack-0.6.0", metadata: { cmdline: "quiet dstack.storage_fs=ext4" } } as ImageDirectory;
const zfsManifest = JSON.stringify({
  manifest_version: 2,
  name: "a",
  runner: "bash",
  bash_script: "",
  storage_fs: "zfs",
});

walkRefusals({
  folder: "services/vmm",
  errors: "VmmError",
  table: VMM_ERRORS,
  cases: {
    "config-invalid": {
      produce: () =>
        checkAutoRestart({
          enabled: true,
          interval: 0,
          initial_backoff: 1,
          max_backoff: 1,
          max_retries: 1,
          reset_window: 1,
        }),
      says: /cvm\.auto_restart\.interval: expected above 0, got 0/,
    },
    "request-invalid": { produce: () => checkName("a/b"), says: /Invalid name: "a\/b": expected 1 to 128 of/ },
    "not-found": { heldBy: "services/vmm/test/vmm.int.test.ts", words: "VM not found" },
    "no-version": { heldBy: "services/vmm/test/previous-version.int.test.ts", words: '"no-version"' },
    conflict: {
      produce: () => checkCapacity({ vcpu: 8, memory: 1 }, [], LIMITS as Parameters<typeof checkCapacity>[2]),
      says: /not enough vCPUs: 8 wanted, 4 of 4 are free \(cvm\.max_allocable_vcpu\)/,
    },
    unsupported: {
      produce: () => checkImageFits(image, readCompose(zfsManifest)),
      says: /storage_fs zfs is not supported by image dstack-0\.6\.0, which has ext4; ask for/,
    },
    "image-unusable": {
      produce: () => loadGuestImage(folder, "dstack-9.9.9"),
      says: /image dstack-9\.9\.9 does not exist in .*vmm-refusals-\w+; there is no image yet, build one with/,
    },
    "vm-broken": { produce: () => parseManifest('{"id":'), says: /vm-manifest\.json is not JSON \(6 characters\)/ },
    "pool-exhausted": {
      produce: () => {
        const pool = createIdPool(100, 101);
        cidFor(pool, 1);
        cidFor(pool, 1);
      },
      says: /CID pool exhausted: 1 VMs exist \(cvm\.cid_pool_size\)/,
    },
    "supervisor-failed": {
      produce: () =>
        ensureSupervisor(
          { ping: () => Promise.resolve(false) } as unknown as SupervisorClient,
          { autoStart: false, sock: "/run/none.sock" } as Parameters<typeof ensureSupervisor>[1],
          log,
        ),
      says: /Failed to connect to supervisor at unix:\/run\/none\.sock/,
    },
    "qemu-unusable": {
      produce: () => checkTcgVersion({ path: "/opt/qemu", imgPath: "", version: "8.2.2" }),
      says: /\/opt\/qemu has version 8\.2\.2; without KVM at least 10\.0 is needed/,
    },
    "disk-failed": {
      produce: () =>
        growDisk(
          { hasDisk: () => Promise.resolve(true), file: { disk: "/none/hda.img" } } as unknown as VmFolder,
          "/none/qemu-img",
          20,
        ),
      says: /Failed to resize disk: .*\/none\/qemu-img/,
    },
    "guest-unreachable": {
      produce: () => relayToKeyProvider({ enabled: true, address: "127.0.0.1", port: 1 }, new Uint8Array(8)),
      says: /Failed to get sealing key from key provider: .*(?:127\.0\.0\.1|ECONNREFUSED)/,
    },
  },
  words: {
    "expected image, or the id of a VM that has one": "nothing came",
    "resize request contains no updates": "nothing came",
    "image must not be empty": "nothing came",
    "networking mode is required": "nothing came",
    "VM not found": "words of the wire",
    "VM is being removed": "words of the wire",
    "Supervisor process not found": "words of the wire",
    "Failed to read compose file": "words of the wire",
    "Key provider is not enabled": "yes or no",
    "image registry is not configured": "yes or no",
    "KMS is not configured": "yes or no",
    "GPU is not enabled": "yes or no",
    "hugepages are not supported": "yes or no",
    "pin_numa is not supported": "yes or no",
    "volumes requested but cvm.volumes_dir is not configured": "yes or no",
    "tee simulator credentials are not configured": "yes or no",
    "key provider ID requires MrConfigV3": "yes or no",
    "bridge_name is only valid for bridge": "yes or no",
    "bridge networking requested but no bridge": "yes or no",
    "Port mapping is disabled": "yes or no",
    "key provider tpm is not supported": "stands in the text",
    "custom networking mode is manifest-only": "stands in the text",
  },
});

test("each answer of the RPC methods that refuses shows a value", () =>
  assertWords(raiseSites("services/vmm", "RpcError"), {}));
