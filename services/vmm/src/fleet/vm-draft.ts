import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { vmFolder, GONE_PREFIX } from "../vm/vm-folder.ts";
import type { Vm } from "../vm/vm.ts";
import type { VmConfiguration } from "./vm-request.ts";

const DRAFT_PREFIX = ".new-";

/** Writes a new VM's folder under a hidden name and renames it when whole: a VMM killed in between leaves no half VM. */
export async function writeNewVm(vm: Vm, request: VmConfiguration, compose: Uint8Array): Promise<void> {
  const runPath = dirname(vm.folder.path);
  await mkdir(runPath, { recursive: true, mode: 0o700 });
  const draft = vmFolder(join(runPath, `${DRAFT_PREFIX}${vm.id}`));
  try {
    await draft.create();
    await draft.writeManifest(vm.manifest);
    await draft.writeCompose(compose);
    if (request.encryptedEnv.length > 0) await draft.writeEncryptedEnv(request.encryptedEnv);
    if (request.userConfig !== "") await draft.writeUserConfig(request.userConfig);
    if (vm.manifest.app_id !== "") await draft.writeInstanceInfo({ appId: vm.manifest.app_id });
    await draft.writeState({ started: false, bootError: "" });
    await rename(draft.path, vm.folder.path);
  } catch (error) {
    await rm(draft.path, { recursive: true, force: true });
    throw error;
  }
}

/** What a VMM that was killed left half made or half removed. */
export async function removeLeftovers(runPath: string): Promise<void> {
  for (const name of await readdir(runPath)) {
    if (name.startsWith(DRAFT_PREFIX) || name.startsWith(GONE_PREFIX))
      await rm(join(runPath, name), { recursive: true, force: true });
  }
}
