/**
 * Machines whose ACPI tables are compared with QEMU's: what the VM configuration says, and the
 * QEMU arguments of that very machine, as the VMM puts them.
 */
import type { HardwareOptions } from "../src/machine.ts";

export interface QemuCase {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly hardware: HardwareOptions;
  /** @param folder holds the empty disks `rootfs`, `hda`, `volume`, and the folder `shared` */
  readonly args: (folder: string) => readonly string[];
}

interface Shape {
  cpus?: number;
  mib?: number;
  nics?: number;
  volumes?: number;
  gpus?: number;
  switches?: number;
  hugepages?: boolean;
  hotplugOff?: boolean;
  hole64?: number;
  pic?: boolean;
  smm?: boolean;
  rootVerity?: boolean;
  share?: "9p" | "vvfat" | "vhd";
  vendor?: "GenuineIntel" | "AuthenticAMD";
}

const TIB = 2 ** 40;

function qemuCase(name: string, shape: Shape): QemuCase {
  const {
    cpus = 2,
    mib = 2048,
    nics = 1,
    volumes = 0,
    gpus = 0,
    switches = 0,
    hole64 = 0,
    rootVerity = true,
    smm = false,
    share = "9p",
  } = shape;
  const { hugepages = false, hotplugOff = false, pic = false } = shape;
  const expander = hugepages && gpus > 0;
  return {
    name,
    config: {
      cpu_count: cpus,
      memory_size: mib * 2 ** 20,
      num_nics: nics,
      num_verity_volumes: volumes,
      num_gpus: gpus,
      num_nvswitches: switches,
      hugepages,
      hotplug_off: hotplugOff,
      pci_hole64_size: hole64,
      pic,
      host_share_mode: share,
    },
    hardware: { rootVerity, smm },
    args: (folder) => [
      "-cpu",
      `max,phys-bits=46,vendor=${shape.vendor ?? "GenuineIntel"}`,
      // TDX guests have neither SMM nor, by default, a PIC.
      "-machine",
      `q35,smm=${onOff(smm)},pic=${onOff(pic)},hpet=off${hugepages ? "" : ",memory-backend=mem0"}`,
      "-smp",
      `${cpus}`,
      "-m",
      `${mib}M`,
      // Nothing touches the memory, so a host with less may promise it.
      "-object",
      `memory-backend-ram,id=mem0,size=${mib}M,reserve=off`,
      ...(hotplugOff ? ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"] : []),
      ...(hole64 > 0 ? ["-global", `q35-pcihost.pci-hole64-size=${hole64}`] : []),
      ...(rootVerity ? disk(folder, "hd0", "rootfs") : []),
      ...disk(folder, "hd1", "hda"),
      ...repeat(volumes, (i) => disk(folder, `vol${i}`, "volume")),
      ...repeat(nics, (i) => ["-netdev", `user,id=net${i}`, "-device", `virtio-net-pci,netdev=net${i},romfile=`]),
      // In the place of vhost-vsock-pci, which needs the host's kernel: tables show the slot, not the device.
      "-device",
      "virtio-serial-pci,id=channel0",
      ...(share === "9p"
        ? ["-virtfs", `local,path=${folder}/shared,mount_tag=host-shared,readonly=on,security_model=mapped,id=virtfs0`]
        : share === "vvfat"
          ? [
              "-drive",
              `file=fat:${folder}/shared,if=none,id=share,format=raw,readonly=on`,
              "-device",
              "virtio-blk-pci,drive=share",
            ]
          : disk(folder, "share", "volume")),
      ...(hugepages ? ["-numa", `node,nodeid=0,cpus=0-${cpus - 1},memdev=mem0`] : []),
      ...(expander ? ["-device", "pxb-pcie,id=pcie.node0,bus=pcie.0,addr=10,numa_node=0,bus_nr=5"] : []),
      ...repeat(gpus, (i) => port(i + 1, expander ? "pcie.node0" : "pcie.0", !expander)),
      ...repeat(switches, (i) => port(gpus + i + 1, "pcie.0", true)),
    ],
  };
}

const onOff = (on: boolean): string => (on ? "on" : "off");
const repeat = (count: number, args: (i: number) => readonly string[]): readonly string[] =>
  Array.from({ length: count }, (_, i) => args(i)).flat();
const disk = (folder: string, id: string, file: string): readonly string[] => [
  "-drive",
  `file=${folder}/${file},if=none,id=${id},format=raw,readonly=on`,
  "-device",
  `virtio-blk-pci,drive=${id}`,
];
/** Tables show that something is behind a port of the root bus, not what; behind an expander not even that. */
const port = (n: number, bus: string, occupied: boolean): readonly string[] => [
  "-device",
  `pcie-root-port,id=pci.${n},bus=${bus},chassis=${n}`,
  ...(occupied ? ["-device", `virtio-rng-pci,bus=pci.${n}`] : []),
];

const beyondTheHole: Shape = { hugepages: true, mib: 1_048_576 };

export const qemuCases: readonly QemuCase[] = [
  ...[1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 31, 64, 128, 200, 254, 255].map((cpus) => qemuCase(`${cpus} vCPU`, { cpus })),
  ...[256, 257, 288].map((cpus) => qemuCase(`${cpus} vCPU, some of them x2APIC`, { cpus })),
  ...[16, 512, 1024, 1500, 2047, 2049, 2304, 2815, 2816, 3072, 4096, 16_384, 65_536, 524_288].map((mib) =>
    qemuCase(`${mib} MiB`, { mib }),
  ),
  ...[0, 2, 3, 5].map((nics) => qemuCase(`${nics} NICs`, { nics })),
  ...[1, 2, 4, 7].map((volumes) => qemuCase(`${volumes} volumes`, { volumes })),
  qemuCase("8 NICs and 8 volumes", { nics: 8, volumes: 8 }),
  qemuCase("a vvfat share", { share: "vvfat" }),
  qemuCase("a share on a disk", { share: "vhd" }),
  qemuCase("no verity disk for the root", { rootVerity: false }),
  qemuCase("a PIC", { pic: true }),
  qemuCase("system management mode", { smm: true }),
  qemuCase("no PCI hotplug", { hotplugOff: true }),
  qemuCase("no PCI hotplug, 3 NICs, 2 volumes, 9 vCPU, 8 GiB and a PIC", {
    hotplugOff: true,
    nics: 3,
    volumes: 2,
    cpus: 9,
    mib: 8192,
    pic: true,
  }),
  ...[2 ** 32, TIB, 16 * TIB].map((hole64) => qemuCase(`a 64-bit window of ${hole64 / 2 ** 30} GiB`, { hole64 })),
  ...(
    [
      [1, 0],
      [0, 1],
      [2, 1],
      [4, 4],
      [8, 4],
    ] as const
  ).map(([gpus, switches]) =>
    qemuCase(`root ports for ${gpus} GPUs and ${switches} switches`, { gpus, switches, hotplugOff: true }),
  ),
  qemuCase("16 vCPU, 64 GiB, a GPU and a window of 16 TiB", {
    cpus: 16,
    mib: 65_536,
    gpus: 1,
    hotplugOff: true,
    hole64: 16 * TIB,
  }),
  ...[1, 2, 5, 256].map((cpus) => qemuCase(`a NUMA node of ${cpus} vCPU`, { cpus, hugepages: true })),
  ...[16, 1024, 2815, 2816, 65_536].map((mib) => qemuCase(`a NUMA node of ${mib} MiB`, { mib, hugepages: true })),
  qemuCase("a NUMA node and an expander for its GPU", { hugepages: true, gpus: 1 }),
  qemuCase("a NUMA node and an expander for its 4 GPUs, without hotplug", {
    hugepages: true,
    gpus: 4,
    hotplugOff: true,
  }),
  qemuCase("an expander with 8 GPUs, 4 switches around it, 10 NICs", {
    hugepages: true,
    gpus: 8,
    switches: 4,
    nics: 10,
    hotplugOff: true,
    mib: 4096,
  }),
  qemuCase("a NUMA node whose window crosses AMD's HyperTransport hole", { hugepages: true, mib: 6144, hole64: TIB }),
  qemuCase("a NUMA node whose memory crosses AMD's HyperTransport hole", beyondTheHole),
];

/** QEMU moves an AMD CPU's memory over that hole. TDX guests run on Intel's, so that is not modelled. */
export const amdWithMuchMemory: QemuCase = qemuCase("an AMD CPU", { ...beyondTheHole, vendor: "AuthenticAMD" });
