import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { hash48, utf8 } from "@dstack/bytes";
import { parseAppCompose } from "@dstack/compose";
import { walkRefusals } from "../../../libs/errors/test/refusals/walk.ts";
import { quietLog } from "../../../libs/agent/test/fixture.ts";
import { openAppEnvironment, type AppEnvironmentOptions } from "../src/app/app-environment.ts";
import { runInitScripts } from "../src/app/app-start.ts";
import { dockerApi } from "../src/app/docker-api.ts";
import { GUEST_ERRORS } from "../src/errors.ts";
import { parseGatewayIds } from "../src/gateway/gateway-registration.ts";
import { checkBootInputs, type BootInputs } from "../src/host/boot-inputs.ts";
import { copyHostShare } from "../src/host/host-share.ts";
import { checkLaunchBinding, type LaunchFacts } from "../src/identity/launch-binding.ts";
import { requestKmsKeys, type KmsKeysOptions } from "../src/keys/kms-keys.ts";
import { parseKernelOptions } from "../src/system/kernel-options.ts";
import { syncTime } from "../src/system/secure-time.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "guest-refusals-"));
});
after(() => rm(folder, { recursive: true }));

const failing = (why: string) => () => Promise.reject(new Error(why));
const IMAGE = { osVersion: "0.6.0", isDev: false } as Parameters<typeof checkBootInputs>[1];
/** What the host handed over, with this manifest. */
const inputs = (manifest: object, kernel = ""): BootInputs => {
  const parsed = parseAppCompose(utf8(JSON.stringify({ manifest_version: 2, name: "a", ...manifest })));
  const kernelOptions = parseKernelOptions(kernel);
  return {
    manifest: parsed,
    systemConfig: { tdxAttestationVariant: undefined },
    userConfig: undefined,
    kernelOptions,
    storageFs: parsed.compose.storageFs ?? kernelOptions.storageFs,
  } as unknown as BootInputs;
};

walkRefusals({
  folder: "services/guest",
  errors: "GuestError",
  table: GUEST_ERRORS,
  cases: {
    "host-share-invalid": {
      produce: () => copyHostShare(join(folder, "share"), join(folder, "copy")),
      says: /Source file [\w.-]+ does not exist/,
    },
    "config-invalid": {
      produce: () => parseKernelOptions("dstack.storage_fs=xfs"),
      says: /Invalid filesystem type: xfs, supported types: zfs, ext4/,
    },
    "policy-refused": {
      produce: () => checkBootInputs(inputs({ runner: "docker-compose" }), IMAGE),
      says: /the manifest has no docker_compose_file/,
    },
    unsupported: {
      produce: () => checkBootInputs(inputs({ runner: "bash", bash_script: "x", storage_fs: "zfs" }), IMAGE),
      says: /storage_fs zfs is not supported by this guest image/,
    },
    "time-unsynced": {
      produce: () => syncTime(failing("chronyd: no server")),
      says: /sync system time; a manifest with secure_time needs a reachable time server: chronyd: no server/,
    },
    "keys-refused": { heldBy: "services/guest/test/kms-keys.int.test.ts", words: '"keys-refused"' },
    "keys-unavailable": {
      produce: () => requestKmsKeys({ urls: [] } as unknown as KmsKeysOptions),
      says: /No KMS URLs are set/,
    },
    "keys-invalid": { heldBy: "services/guest/test/kms-keys.int.test.ts", words: '"keys-invalid"' },
    "binding-mismatch": {
      produce: () =>
        checkLaunchBinding(hash48(Uint8Array.from({ length: 48 }, (_, i) => (i === 0 ? 1 : 7))), {
          composeHash: new Uint8Array(32).fill(9),
        } as LaunchFacts),
      says: /Invalid mr_config_id: .*\(01(?:07){47}, the share gives 01(?:09){32}0+\)/,
    },
    "disk-invalid": { heldBy: "services/guest/test/luks-header.test.ts", words: '"disk-invalid"' },
    "disk-key-wrong": { heldBy: "services/guest/test/data-disk.int.test.ts", words: '"disk-key-wrong"' },
    "env-invalid": {
      produce: () =>
        openAppEnvironment({
          encrypted: new Uint8Array(3),
          key: new Uint8Array(32).fill(1),
          compose: { keyProvider: "kms", allowedEnvs: [] },
          folder,
          log: quietLog,
        } as unknown as AppEnvironmentOptions),
      says: /the encrypted environment cannot be used: .*\b3\b/,
    },
    "docker-failed": {
      produce: () => dockerApi(join(folder, "docker.sock")).call("GET", "/containers/json?all=true"),
      says: /Docker did not answer \/containers\/json: .*docker\.sock/,
    },
    "app-failed": {
      produce: () =>
        runInitScripts({ initScripts: ["false"] } as unknown as Parameters<typeof runInitScripts>[0], {
          folder,
          mountPoint: folder,
          run: failing("bash: status 1"),
        }),
      says: /an init script of the app failed: bash: status 1/,
    },
    "gateway-failed": {
      produce: () => parseGatewayIds("any"),
      says: /the KMS names "any" as the gateway's app id; expected exactly 20 bytes of hex/,
    },
  },
  words: {
    "this app has no key provider that could open it": "nothing came",
    "no partition labelled dstack-data and no /dev/vdb": "nothing came",
    "Missing gateway urls": "nothing came",
    "Missing allowed dstack-gateway app id": "nothing came",
    "Missing wg info": "nothing came",
    "the manifest has no docker_compose_file": "nothing came",
    "no channel to the host": "nothing came",
    "the host gave no mr_config document": "nothing came",
    "No KMS URLs are set": "nothing came",
    "/dev/vdb has partitions": "stands in the text",
    "key provider tpm is not supported": "stands in the text",
    "none, but the manifest pins one": "stands in the text",
  },
});
