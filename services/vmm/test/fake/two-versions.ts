import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { utf8 } from "@dstack/bytes";
import type { UpdatePlan } from "../../src/fleet/update-vm.ts";
import { emptyManifest } from "../../src/vm/manifest.ts";
import { vmFolder, type VmFolder } from "../../src/vm/vm-folder.ts";
import { newVm } from "../../src/vm/vm.ts";

export const OLD = { compose: "old app", env: "old secrets", config: "old config", memory: 1024 };
const NEW = { compose: "new app", env: "new secrets", config: undefined, memory: 2048 };
export const NOW = "2026-11-29T12:00:00.000Z";
const manifestOf = (memory: number) => ({ ...emptyManifest("vm"), memory });
export const plan: UpdatePlan = {
  manifest: manifestOf(NEW.memory),
  compose: { kind: "write", data: utf8(NEW.compose) },
  encryptedEnv: { kind: "write", data: utf8(NEW.env) },
  userConfig: { kind: "remove" },
  growToGb: undefined,
  replacesVersion: true,
  composeId: "",
  parts: [],
};

export async function oldVm(): Promise<ReturnType<typeof newVm>> {
  const folder = vmFolder(join(mkdtempSync(join(tmpdir(), "dstack-version-")), "vm"));
  await folder.create();
  await folder.writeManifest(manifestOf(OLD.memory));
  await folder.writeCompose(utf8(OLD.compose));
  await folder.writeEncryptedEnv(utf8(OLD.env));
  await folder.writeUserConfig(OLD.config);
  return newVm("vm", folder, manifestOf(OLD.memory));
}

export const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();

/** What a VMM that opens the folder finds. */
export async function whatIs(folder: VmFolder): Promise<object> {
  const manifest = await folder.readManifest();
  const now = await folder.readVersion(manifest);
  const before = await folder.readPreviousVersion();
  const plain = (version: typeof now) =>
    version && {
      compose: text(version.compose),
      env: text(version.encryptedEnv),
      config: text(version.userConfig),
      memory: version.manifest.memory,
    };
  return { now: plain(now), before: plain(before), savedAt: before?.savedAt };
}

export const ALL_OLD = { now: OLD, before: undefined, savedAt: undefined };
export const ALL_NEW = { now: NEW, before: OLD, savedAt: NOW };
