/**
 * The QEMU command line. The order of the arguments is part of the contract: PCI slots are given
 * out in order of appearance and enter the measured ACPI tables.
 */
import type { Networking } from "../config/config-schema.ts";
import type { CvmConfig } from "../config/vmm-config.ts";
import { macAddress, netdevs } from "./networks.ts";
import type { PortMap } from "../vm/manifest.ts";
import { VmmError } from "../errors.ts";

export interface QemuInputs {
  readonly qemuPath: string;
  /** Run QEMU as this user; "" as our own. */
  readonly user: string;
  readonly accelerator: "kvm" | "tcg";
  readonly workDir: string;
  readonly vm: {
    readonly id: string;
    readonly vcpu: number;
    readonly memoryMb: number;
    readonly ports: readonly PortMap[];
    readonly networks: readonly Networking[];
    readonly volumes: readonly { readonly source: string }[];
  };
  readonly image: {
    readonly kernel: string;
    readonly initrd: string;
    readonly rootfs: string | undefined;
    readonly bios: string | undefined;
    readonly cmdline: string | undefined;
    readonly sharedReadOnly: boolean;
  };
  /** What carries host API and guest API. Both take the same PCI slot. */
  readonly channel:
    | { readonly kind: "vsock"; readonly cid: number }
    | { readonly kind: "virtio-serial"; readonly socketPath: string; readonly portName: string };
  readonly hostShareMode: "9p" | "vvfat" | "vhd";
  readonly qmpSocket: boolean;
  readonly hotplugOff: boolean;
  readonly pciHole64Bytes: number;
  readonly product: CvmConfig["product"];
  readonly tee:
    | { readonly kind: "none" }
    | { readonly kind: "tdx"; readonly mrConfigId: string | undefined; readonly qgsPort: number | undefined };
}

/** The whole command: program first. @throws VmmError `unsupported`, `vm-broken` */
export function qemuArgv(inputs: QemuInputs): string[] {
  const { workDir, image, vm } = inputs;
  const drive = (file: string, id: string, more: string): string[] => [
    "-drive",
    `file=${escapeComma(file)},if=none,id=${id}${more}`,
    "-device",
    `virtio-blk-pci,drive=${id}`,
  ];
  return [
    ...(inputs.user === "" ? [] : ["sudo", "-u", inputs.user]),
    inputs.qemuPath,
    ...(inputs.accelerator === "kvm"
      ? ["-accel", "kvm", "-cpu", "host"]
      : ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]),
    "-nographic",
    "-nodefaults",
    "-chardev",
    `pty,id=com0,path=${escapeComma(workDir)}/serial.pty,logfile=${escapeComma(workDir)}/serial.log,logappend=on`,
    "-serial",
    "chardev:com0",
    ...(inputs.qmpSocket ? ["-qmp", `unix:${escapeComma(workDir)}/qmp.sock,server,wait=off`] : []),
    ...(image.bios === undefined ? [] : ["-bios", image.bios]),
    "-kernel",
    image.kernel,
    "-initrd",
    image.initrd,
    ...(inputs.hotplugOff ? ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"] : []),
    ...(inputs.pciHole64Bytes > 0
      ? ["-global", `q35-pcihost.pci-hole64-size=0x${inputs.pciHole64Bytes.toString(16)}`]
      : []),
    ...rootDisk(image.rootfs, drive),
    ...drive(`${workDir}/hda.img`, "hd1", ""),
    ...vm.volumes.flatMap(({ source }, index) => drive(source, `vol${index}`, ",format=raw,readonly=on")),
    ...netdevs(vm.networks, vm.ports).flatMap((netdev, index) => [
      "-netdev",
      netdev,
      "-device",
      `virtio-net-pci,netdev=net${index},mac=${macAddress(vm.id, index, vm.networks[index]?.mac_prefix ?? "")}`,
    ]),
    ...smbios(inputs.product),
    ...channelDevice(inputs.channel),
    ...hostShare(inputs),
    ...machine(inputs.tee),
    "-smp",
    String(Math.max(1, vm.vcpu)),
    "-m",
    `${vm.memoryMb}M`,
    ...(image.cmdline === undefined ? [] : ["-append", image.cmdline]),
  ];
}

function rootDisk(rootfs: string | undefined, drive: (file: string, id: string, more: string) => string[]): string[] {
  if (rootfs === undefined) return [];
  if (rootfs.endsWith(".verity")) return drive(rootfs, "hd0", ",format=raw,readonly=on");
  throw new VmmError("unsupported", `Unsupported rootfs type: ${rootfs.slice(rootfs.lastIndexOf(".") + 1)}`);
}

function channelDevice(channel: QemuInputs["channel"]): string[] {
  if (channel.kind === "vsock") return ["-device", `vhost-vsock-pci,guest-cid=${channel.cid}`];
  return [
    "-chardev",
    `socket,id=host0,path=${escapeComma(channel.socketPath)},server=on,wait=off`,
    "-device",
    "virtio-serial-pci,id=vser0",
    "-device",
    `virtserialport,bus=vser0.0,nr=1,chardev=host0,name=${channel.portName}`,
  ];
}

function hostShare({ workDir, hostShareMode, image }: QemuInputs): string[] {
  const shared = `${escapeComma(workDir)}/shared`;
  switch (hostShareMode) {
    case "9p":
      return [
        "-virtfs",
        `local,path=${shared},mount_tag=host-shared,readonly=${image.sharedReadOnly ? "on" : "off"},security_model=mapped,id=virtfs0`,
      ];
    case "vvfat":
      return [
        "-blockdev",
        `driver=vvfat,node-name=vvfat0,read-only=on,dir=${shared},label=DSTACKSHR`,
        "-device",
        "virtio-blk-pci,drive=vvfat0",
      ];
    case "vhd":
      return [
        "-drive",
        `file=${shared}.img,if=none,id=hd2,format=raw,readonly=on`,
        "-device",
        "virtio-blk-pci,drive=hd2",
      ];
    default:
      return hostShareMode satisfies never;
  }
}

function machine(tee: QemuInputs["tee"]): string[] {
  if (tee.kind === "none") return ["-machine", "q35,kernel-irqchip=split,hpet=off"];
  const object = {
    "qom-type": "tdx-guest",
    id: "tdx",
    ...(tee.mrConfigId === undefined ? {} : { mrconfigid: tee.mrConfigId }),
    ...(tee.qgsPort === undefined
      ? {}
      : { "quote-generation-socket": { type: "vsock", cid: "2", port: String(tee.qgsPort) } }),
  };
  return [
    "-machine",
    "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off",
    "-object",
    JSON.stringify(object),
  ];
}

const SMBIOS: readonly (readonly [string, keyof CvmConfig["product"]][])[] = [
  [
    ["vendor", "biosVendor"],
    ["version", "biosVersion"],
    ["date", "biosDate"],
    ["release", "biosRelease"],
  ],
  [
    ["manufacturer", "sysVendor"],
    ["product", "productName"],
    ["version", "productVersion"],
    ["serial", "productSerial"],
    ["uuid", "productUuid"],
    ["family", "productFamily"],
    ["sku", "productSku"],
  ],
  [
    ["manufacturer", "boardVendor"],
    ["product", "boardName"],
    ["version", "boardVersion"],
    ["serial", "boardSerial"],
    ["asset", "boardAssetTag"],
  ],
  [
    ["manufacturer", "chassisVendor"],
    ["version", "chassisVersion"],
    ["serial", "chassisSerial"],
    ["asset", "chassisAssetTag"],
  ],
];

function smbios(product: CvmConfig["product"]): string[] {
  return SMBIOS.flatMap((fields, type) => {
    const values = fields.flatMap(([option, key]) =>
      product[key] === undefined ? [] : [`${option}=${escapeComma(product[key])}`],
    );
    return values.length === 0 ? [] : ["-smbios", `type=${type},${values.join(",")}`];
  });
}

/** QEMU's option lists are split at commas; a doubled one is a comma of the value. */
const escapeComma = (text: string): string => text.replaceAll(",", ",,");
