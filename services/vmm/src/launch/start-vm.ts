import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { HOST_PORT_NAME } from "@dstack/vm-channel";
import { parseAppCompose } from "@dstack/compose";
import { removeIfExists, writeFileAtomic, writeJsonAtomic, writeSecret } from "@dstack/files";
import type { ImageDirectory } from "@dstack/image";
import type { Accelerator } from "./accelerator.ts";
import { VmmError } from "../errors.ts";
import { ensureDisk } from "./guest-disk.ts";
import { imageVersion } from "./guest-image.ts";
import { launchBinding, type LaunchBinding } from "./launch-binding.ts";
import { markBoot, rotateLog } from "../logs/log-rotation.ts";
import { checkPortsFree } from "./port-mapping.ts";
import { qemuArgv } from "./qemu-argv.ts";
import type { QemuBinary } from "./qemu-binary.ts";
import type { DeployRequest } from "../supervisor/supervisor-client.ts";
import { sysConfigText, teeSimulatorText, vmConfigOf } from "./sys-config.ts";
import { networksOf, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export interface Launcher {
  readonly config: VmmConfig;
  readonly qemu: QemuBinary;
  readonly accelerator: (kernel: string) => Promise<Accelerator>;
  readonly clock: { now(): number };
}

const TDX_PARAMETER = "/sys/module/kvm_intel/parameters/tdx";
const NOTE = JSON.stringify({ kind: "cvm", live_for: null, serial_logappend: true });

/** Writes what a guest reads about its host; done at every start, running or not. */
export async function writeHostShare(vm: Vm, image: ImageDirectory, launcher: Launcher): Promise<LaunchBinding> {
  const { config } = launcher;
  const { folder, manifest } = vm;
  const bytes = await folder.readCompose();
  if (bytes === undefined)
    throw new VmmError("vm-broken", `Failed to read compose file: ${folder.file.compose} is missing`);
  const compose = parseAppCompose(bytes);
  const binding: LaunchBinding = isBound(vm)
    ? launchBinding({
        compose,
        imageVersion: imageVersion(image.version),
        useMrConfigId: config.cvm.use_mrconfigid,
        instanceInfo: await folder.readInstanceInfo(),
      })
    : { mrConfigId: undefined, document: undefined, instanceInfo: undefined };
  if (binding.instanceInfo !== undefined) await folder.writeInstanceInfo(binding.instanceInfo);
  const vmConfig = await vmConfigOf(manifest, config, image, compose, launcher.qemu.version);
  await writeFileAtomic(
    folder.file.sysConfig,
    sysConfigText(manifest, config, image, vmConfig, binding, channelUrl(config)),
  );
  if (manifest.simulated_tee === undefined) await removeIfExists(folder.file.teeSimulator);
  else
    await writeSecret(
      folder.file.teeSimulator,
      await teeSimulatorText(manifest.simulated_tee, config, image, vmConfig, binding),
    );
  return binding;
}

/** Everything QEMU needs, and the process that runs it. @throws VmmError naming what is missing */
export async function prepareLaunch(
  vm: Vm,
  image: ImageDirectory,
  binding: LaunchBinding,
  launcher: Launcher,
): Promise<DeployRequest> {
  const { config, qemu } = launcher;
  const { folder, manifest } = vm;
  const { cvm } = config;
  const usesTdx = !manifest.no_tee;
  if (usesTdx) await checkTdxHost();
  const accelerator = usesTdx ? { kind: "kvm" as const } : await launcher.accelerator(image.files.kernel);
  await checkPortsFree(manifest.port_map);
  await ensureDisk(folder, qemu.imgPath, manifest.disk_size, image.files.hda);
  await folder.clearRuntimeFiles();
  const now = new Date(launcher.clock.now());
  for (const log of [folder.file.stdoutLog, folder.file.stderrLog, folder.file.serialLog]) {
    await rotateLog(log, cvm.log, now);
    await markBoot(log, now);
  }
  const networks = networksOf(vm, config);
  await writeJsonAtomic(folder.file.runtimeNetworks, networks);
  const [command = "", ...args] = qemuArgv({
    qemuPath: qemu.path,
    user: cvm.user,
    accelerator: accelerator.kind,
    workDir: folder.path,
    vm: {
      id: vm.id,
      vcpu: manifest.vcpu,
      memoryMb: manifest.memory,
      ports: manifest.port_map,
      networks,
      volumes: manifest.volumes,
    },
    image: {
      kernel: image.files.kernel,
      initrd: image.files.initrd,
      rootfs: image.files.rootfs,
      bios: image.files.bios,
      cmdline: image.metadata.cmdline,
      sharedReadOnly: image.metadata.shared_ro,
    },
    channel:
      cvm.guest_channel === "vsock"
        ? await vsockChannel(vm.cid ?? 0)
        : { kind: "virtio-serial", socketPath: folder.file.channelSocket, portName: HOST_PORT_NAME },
    hostShareMode: cvm.host_share_mode,
    qmpSocket: cvm.qmp_socket,
    hotplugOff: cvm.qemu_hotplug_off,
    pciHole64Bytes: cvm.qemu_pci_hole64_size,
    product: cvm.product,
    tee: usesTdx
      ? {
          kind: "tdx",
          mrConfigId: binding.mrConfigId === undefined ? undefined : Buffer.from(binding.mrConfigId).toString("base64"),
          qgsPort: cvm.qgs_port ?? undefined,
        }
      : { kind: "none" },
  });
  return {
    id: vm.id,
    name: manifest.name,
    command,
    args,
    cwd: folder.path,
    stdout: folder.file.stdoutLog,
    stderr: folder.file.stderrLog,
    pidfile: folder.file.pidFile,
    cid: vm.cid ?? 0,
    note: NOTE,
  };
}

/** A simulated TDX machine is bound as a real one would be; a plain VM has nothing that could be bound. */
const isBound = (vm: Vm): boolean => !vm.manifest.no_tee || vm.manifest.simulated_tee === "dstack-tdx";

const channelUrl = (config: VmmConfig): string =>
  config.cvm.guest_channel === "vsock"
    ? `vsock://2:${config.hostApiPort}/api`
    : `virtio-serial://${HOST_PORT_NAME}/api`;

async function vsockChannel(cid: number): Promise<{ kind: "vsock"; cid: number }> {
  try {
    await (await open("/dev/vhost-vsock", constants.O_RDWR)).close();
  } catch (cause) {
    throw new VmmError(
      "qemu-unusable",
      "cvm.guest_channel is vsock, but /dev/vhost-vsock cannot be opened; use virtio-serial",
      { cause },
    );
  }
  return { kind: "vsock", cid };
}

async function checkTdxHost(): Promise<void> {
  const value = (await readFile(TDX_PARAMETER, "utf8").catch(() => "")).trim();
  if (value !== "Y" && value !== "1") {
    throw new VmmError(
      "qemu-unusable",
      `this host offers no TDX (${TDX_PARAMETER} is ${value === "" ? "missing" : value}); start the VM with simulated_tee for development, or with no_tee`,
    );
  }
}
