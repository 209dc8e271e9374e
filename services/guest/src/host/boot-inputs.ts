/**
 * host/ is the border to the host: its share, its configuration, the channel to it.
 * In: files of a folder that the host may change at any moment, and its questions.
 * Out: a private copy that is read once and judged before anything is measured; how the boot goes, told to the host.
 * Never: a link or a device followed, more read than the limit, a secret told; the host says nothing here about who
 * anybody is.
 */
import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { utf8Decode } from "@dstack/bytes";
import { checkPolicy, parseAppCompose, type ParsedAppCompose, type StorageFs } from "@dstack/compose";
import type { Logger } from "@dstack/log";
import { GuestError } from "../errors.ts";
import { copyHostShare, mountHostShare, type SharedFileName } from "./host-share.ts";
import type { ImageInfo } from "../system/image-info.ts";
import { parseKernelOptions, type KernelOptions } from "../system/kernel-options.ts";
import type { GuestPaths } from "../system/paths.ts";
import type { RunProgram } from "../system/run-program.ts";
import { parseInstanceInfo, parseSystemConfig, type InstanceInfo, type SystemConfig } from "./system-config.ts";

/** What one boot works from: the copy of the host share and the kernel's command line. */
export interface BootInputs {
  readonly manifest: ParsedAppCompose;
  readonly systemConfig: SystemConfig;
  readonly instanceInfo: InstanceInfo;
  readonly encryptedEnv: Uint8Array;
  readonly userConfig: Uint8Array | undefined;
  readonly kernelOptions: KernelOptions;
  readonly storageFs: StorageFs;
}

/** What starts an app on this guest. */
const RUNNERS: readonly string[] = ["docker-compose", "bash"];

/** Copies and reads everything the host gives. @throws GuestError, ComposeError */
export async function readBootInputs(paths: GuestPaths, run: RunProgram, log: Logger): Promise<BootInputs> {
  await mkdir(paths.work, { recursive: true, mode: 0o755 });
  await mountHostShare(paths.shareMount, run, log);
  let share;
  try {
    share = await copyHostShare(paths.shareMount, paths.hostShared);
  } finally {
    await run("umount", [paths.shareMount]);
  }
  const text = (name: SharedFileName): string | undefined => {
    const bytes = share.get(name);
    return bytes === undefined ? undefined : utf8Decode(bytes, name);
  };
  const manifest = parseAppCompose(share.get("app-compose.json") ?? new Uint8Array());
  const kernelOptions = parseKernelOptions(await readFile(paths.kernelCommandLine, "utf8"));
  return {
    manifest,
    systemConfig: parseSystemConfig(text(".sys-config.json") ?? ""),
    instanceInfo: parseInstanceInfo(text(".instance_info")),
    encryptedEnv: share.get(".encrypted-env") ?? new Uint8Array(),
    userConfig: share.get(".user-config"),
    kernelOptions,
    storageFs: manifest.compose.storageFs ?? kernelOptions.storageFs,
  };
}

/**
 * Everything that can be judged before anything is measured: the manifest's demands on this
 * guest, and what this version of it cannot do.
 * @throws GuestError `policy-refused`, `unsupported`
 */
export async function checkBootInputs(inputs: BootInputs, image: ImageInfo): Promise<void> {
  const { compose } = inputs.manifest;
  const verdict = checkPolicy(compose, {
    osVersion: image.osVersion,
    platform: "dstack-tdx",
    tdxAttestationVariant: inputs.systemConfig.tdxAttestationVariant,
    userConfig: inputs.userConfig,
  });
  if (!verdict.ok) throw new GuestError("policy-refused", `Failed to verify app-compose policy: ${verdict.reason}`);
  const unsupported = (what: string): GuestError =>
    new GuestError("unsupported", `${what} is not supported by this guest image`);
  if (!RUNNERS.includes(compose.runner)) throw unsupported(`runner ${compose.runner}`);
  if (compose.runner === "docker-compose" && (compose.dockerComposeFile ?? "") === "")
    throw new GuestError("policy-refused", "the manifest has no docker_compose_file");
  if (compose.keyProvider === "tpm") throw unsupported("key provider tpm");
  if (inputs.storageFs !== "ext4") throw unsupported(`storage_fs ${inputs.storageFs}`);
  if (!inputs.kernelOptions.storageEncrypted) throw unsupported("an unencrypted data disk (dstack.storage_encrypted)");
  if (compose.verityVolumes.length > 0) throw unsupported("verity_volumes");
  if (await hasNvidiaGpu()) throw unsupported("an NVIDIA GPU, which would have to be attested,");
}

/** The folder that apps and scripts know, around the copy of the host share. */
export async function prepareWorkFolder(paths: GuestPaths): Promise<void> {
  for (const [name, target] of [
    ["app-compose.json", ".host-shared/app-compose.json"],
    ["user_config", ".host-shared/.user-config"],
  ] as const) {
    await rm(join(paths.work, name), { force: true });
    await symlink(target, join(paths.work, name));
  }
  await writeFile(
    join(paths.work, "agent.json"),
    JSON.stringify({ default: { core: { data_disks: ["/", paths.persistent] } } }, null, 2),
  );
}

/** Display controllers (class 03) of vendor 10de. */
async function hasNvidiaGpu(devices = "/sys/bus/pci/devices"): Promise<boolean> {
  for (const device of await readdir(devices).catch(() => [])) {
    const [vendor, deviceClass] = await Promise.all(
      ["vendor", "class"].map((file) => readFile(join(devices, device, file), "utf8").catch(() => "")),
    );
    if (vendor?.trim() === "0x10de" && deviceClass?.startsWith("0x03") === true) return true;
  }
  return false;
}
