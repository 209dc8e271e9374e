import { camelKeys } from "../src/config/camel-keys.ts";
import { networkingSchema, type Networking } from "../src/config/config-schema.ts";
import type { QemuInputs } from "../src/launch/qemu-argv.ts";

/** A launch as the vectors write it, with the command line that it comes to. */
export interface LaunchCase {
  name: string;
  reference: string;
  platform: string;
  qemu_path: string;
  workdir: string;
  cid: number;
  manifest: {
    id: string;
    vcpu: number;
    memory: number;
    port_map: QemuInputs["vm"]["ports"];
    no_tee?: boolean;
    hugepages?: boolean;
    volumes?: { source: string }[];
  };
  cvm: {
    qgs_port: number | null;
    host_share_mode: "9p" | "vvfat" | "vhd";
    qmp_socket: boolean;
    qemu_hotplug_off: boolean;
    qemu_pci_hole64_size: number;
    user: string;
  };
  product: { sys_vendor: string; product_name: string };
  image: {
    dir: string;
    kernel: string;
    initrd: string;
    rootfs: string;
    bios: string | null;
    shared_ro: boolean;
    cmdline: string | null;
  };
  networks: Partial<Networking>[];
  mrconfigid?: string;
  gpus?: unknown;
  swtpm?: boolean;
  argv: string[];
}

/** Other machines than this version starts are refused before a command line is built. */
export const isOurs = (c: LaunchCase): boolean =>
  c.reference === "0.6.0" &&
  c.platform === "tdx" &&
  c.gpus === undefined &&
  c.swtpm !== true &&
  c.manifest.hugepages !== true &&
  c.name !== "tdx-libvirt-tap";

export function inputsOf(c: LaunchCase): QemuInputs {
  const at = (file: string): string => `${c.image.dir}/${file}`;
  return {
    qemuPath: c.qemu_path,
    user: c.cvm.user,
    accelerator: "kvm",
    workDir: c.workdir,
    vm: {
      id: c.manifest.id,
      vcpu: c.manifest.vcpu,
      memoryMb: c.manifest.memory,
      ports: c.manifest.port_map,
      networks: c.networks.map((network) => networkingSchema.parse(network)),
      volumes: c.manifest.volumes ?? [],
    },
    image: {
      kernel: at(c.image.kernel),
      initrd: at(c.image.initrd),
      rootfs: at(c.image.rootfs),
      bios: c.image.bios === null ? undefined : at(c.image.bios),
      cmdline: c.image.cmdline ?? undefined,
      sharedReadOnly: c.image.shared_ro,
    },
    channel: { kind: "vsock", cid: c.cid },
    hostShareMode: c.cvm.host_share_mode,
    qmpSocket: c.cvm.qmp_socket,
    hotplugOff: c.cvm.qemu_hotplug_off,
    pciHole64Bytes: c.cvm.qemu_pci_hole64_size,
    product: camelKeys(c.product),
    tee:
      c.manifest.no_tee === true
        ? { kind: "none" }
        : { kind: "tdx", mrConfigId: c.mrconfigid, qgsPort: c.cvm.qgs_port ?? undefined },
  };
}
