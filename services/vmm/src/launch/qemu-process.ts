import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { writeJsonAtomic } from "@dstack/files";
import { HOST_PORT_NAME } from "@dstack/vm-channel";
import { VmmError } from "../errors.ts";
import { markBoot, rotateLog } from "../logs/log-rotation.ts";
import type { DeployRequest } from "../supervisor/supervisor-client.ts";
import { networksOf } from "../vm/vm.ts";
import { ensureDisk } from "./guest-disk.ts";
import { checkPortsFree } from "./port-mapping.ts";
import type { Launch, Launcher } from "./prepare-launch.ts";
import { qemuArgv, type QemuInputs } from "./qemu-argv.ts";

const TDX_PARAMETER = "/sys/module/kvm_intel/parameters/tdx";
/** What other VMMs read of a process: that it is a VM, and that its serial log may be cut in place. */
const NOTE = JSON.stringify({ kind: "cvm", live_for: null, serial_logappend: true });

/** Makes everything QEMU needs: disk, logs, the process that runs it. @throws VmmError naming what is missing */
export async function qemuProcess(launch: Launch, launcher: Launcher): Promise<DeployRequest> {
  const { config, image } = launch;
  const { id, folder, manifest, cid = 0 } = launch.vm;
  const usesTdx = !manifest.no_tee;
  if (usesTdx) await checkTdxHost();
  const accelerator = usesTdx ? "kvm" : (await launcher.accelerator(image.files.kernel)).kind;
  await checkPortsFree(manifest.port_map);
  await ensureDisk(folder, launcher.qemu.imgPath, manifest.disk_size, image.files.hda);
  await folder.clearRuntimeFiles();
  const now = new Date(launcher.clock.now());
  for (const log of [folder.file.stdoutLog, folder.file.stderrLog, folder.file.serialLog]) {
    await rotateLog(log, config.cvm.log, now);
    await markBoot(log, now);
  }
  await writeJsonAtomic(folder.file.runtimeNetworks, networksOf(launch.vm, config));
  const channel: QemuInputs["channel"] =
    config.cvm.guestChannel === "vsock"
      ? await vsockChannel(cid)
      : { kind: "virtio-serial", socketPath: folder.file.channelSocket, portName: HOST_PORT_NAME };
  const [command = "", ...args] = qemuArgv(inputsOf(launch, launcher.qemu.path, accelerator, channel));
  return {
    id,
    name: manifest.name,
    command,
    args,
    cwd: folder.path,
    stdout: folder.file.stdoutLog,
    stderr: folder.file.stderrLog,
    pidfile: folder.file.pidFile,
    cid,
    note: NOTE,
  };
}

function inputsOf(
  launch: Launch,
  qemuPath: string,
  accelerator: QemuInputs["accelerator"],
  channel: QemuInputs["channel"],
): QemuInputs {
  const { image, binding } = launch;
  const { id, folder, manifest } = launch.vm;
  const { cvm } = launch.config;
  return {
    qemuPath,
    user: cvm.user,
    accelerator,
    workDir: folder.path,
    vm: {
      id,
      vcpu: manifest.vcpu,
      memoryMb: manifest.memory,
      ports: manifest.port_map,
      networks: networksOf(launch.vm, launch.config),
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
    channel,
    hostShareMode: cvm.hostShareMode,
    qmpSocket: cvm.qmpSocket,
    hotplugOff: cvm.qemuHotplugOff,
    pciHole64Bytes: cvm.qemuPciHole64Size,
    product: cvm.product,
    tee: manifest.no_tee
      ? { kind: "none" }
      : {
          kind: "tdx",
          mrConfigId: binding.mrConfigId === undefined ? undefined : Buffer.from(binding.mrConfigId).toString("base64"),
          qgsPort: cvm.qgsPort ?? undefined,
        },
  };
}

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
