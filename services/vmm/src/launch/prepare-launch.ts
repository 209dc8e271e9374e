/**
 * One start of one VM, on paper. In: the VM, its image, the node's configuration. Out: a `Launch`,
 * from which host-share.ts writes what the guest reads and qemu-process.ts makes the command line,
 * so that the two cannot disagree about what is measured. Never: a file written or a process
 * started here; launch/ knows one VM at a time and nothing of its neighbours.
 */
import { parseAppCompose, type ParsedAppCompose } from "@dstack/compose";
import type { ImageDirectory } from "@dstack/image";
import type { VmConfig } from "@dstack/measure";
import type { VmmConfig } from "../config/vmm-config.ts";
import { VmmError } from "../errors.ts";
import type { Vm } from "../vm/vm.ts";
import type { Accelerator } from "./accelerator.ts";
import { imageVersion } from "./guest-image.ts";
import { launchBinding, NOT_BOUND, type LaunchBinding } from "./launch-binding.ts";
import type { QemuBinary } from "./qemu-binary.ts";
import { vmConfigOf } from "./vm-config.ts";

/** What a VM is started with, whichever it is. */
export interface Launcher {
  readonly config: VmmConfig;
  readonly qemu: QemuBinary;
  readonly accelerator: (kernel: string) => Promise<Accelerator>;
  readonly clock: { now(): number };
}

export interface Launch {
  readonly vm: Vm;
  readonly image: ImageDirectory;
  readonly config: VmmConfig;
  readonly binding: LaunchBinding;
  /** What is measured of the machine. */
  readonly vmConfig: VmConfig;
}

/** @throws VmmError `vm-broken`, `config-invalid`, `image-unusable` */
export async function prepareLaunch(vm: Vm, image: ImageDirectory, { config, qemu }: Launcher): Promise<Launch> {
  const compose = await storedCompose(vm);
  const binding = isBound(vm)
    ? launchBinding({
        compose,
        imageVersion: imageVersion(image.version),
        useMrConfigId: config.cvm.useMrconfigid,
        instanceInfo: await vm.folder.readInstanceInfo(),
      })
    : NOT_BOUND;
  const vmConfig = await vmConfigOf({ manifest: vm.manifest, config, image, compose, qemuVersion: qemu.version });
  return { vm, image, config, binding, vmConfig };
}

/** A simulated TDX machine is bound as a real one would be; a plain VM has nothing that could be bound. */
const isBound = ({ manifest }: Vm): boolean => !manifest.no_tee || manifest.simulated_tee === "dstack-tdx";

async function storedCompose({ folder }: Vm): Promise<ParsedAppCompose> {
  const bytes = await folder.readCompose();
  if (bytes === undefined)
    throw new VmmError("vm-broken", `Failed to read compose file: ${folder.file.compose} is missing`);
  return parseAppCompose(bytes);
}
