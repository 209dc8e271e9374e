import { appId, hash32, parseHex, toHex } from "@dstack/bytes";
import { mrConfigIdV1, mrConfigIdV2, mrConfigIdV3 } from "@dstack/attest";
import { macAddress } from "../../services/vmm/src/launch/networks.ts";
import { qemuArgv } from "../../services/vmm/src/launch/qemu-argv.ts";
import { inputsOf, type LaunchCase } from "../../services/vmm/test/qemu-cases.ts";
import type { Vectors } from "./vectors.ts";

const VM = "00000000-1111-4222-8333-444444444444";

/** Addresses of network devices, what is bound at launch, and whole command lines of QEMU. */
export function vmmVectors(): Vectors {
  return {
    "vmm/derivations.json": { mac: macAddresses() },
    "vmm/mr_config.json": { cases: launchBindings() },
    "vmm/qemu_argv.json": { cases: launches() },
  };
}

function macAddresses(): object[] {
  const rows = [
    ["own-vm", 0, ""],
    ["own-vm", 1, ""],
    [VM, 0, ""],
    [VM, 0, "0a"],
    [VM, 3, "0a:1b"],
    [VM, 0, "0a:1b:2c"],
    [VM, 0, "01:00:00"],
  ] as const;
  return rows.map(([vm_id, nic_index, mac_prefix]) => ({
    vm_id,
    nic_index,
    mac_prefix,
    mac: macAddress(vm_id, nic_index, mac_prefix),
  }));
}

function launchBindings(): object[] {
  const compose_hash = "c3".repeat(32);
  const app_id = "b2".repeat(20);
  const document = '{"own":"document","version":3}';
  const hash = hash32(parseHex(compose_hash));
  const of = (fields: object, id: Uint8Array): object => ({
    ...fields,
    mr_config_id: toHex(id),
    qemu_base64: Buffer.from(id).toString("base64"),
  });
  return [
    of({ version: 1, compose_hash }, mrConfigIdV1(hash)),
    ...(["kms", "local"] as const).map((key_provider) =>
      of(
        { version: 2, compose_hash, app_id, key_provider, key_provider_id: "0102" },
        mrConfigIdV2(hash, appId(parseHex(app_id)), key_provider, parseHex("0102")),
      ),
    ),
    of({ version: 3, document }, mrConfigIdV3(document)),
  ];
}

type Launch = Omit<LaunchCase, "argv">;

const base: Launch = {
  name: "simplest",
  reference: "0.6.0",
  platform: "tdx",
  qemu_path: "/opt/qemu/bin/qemu-system-x86_64",
  workdir: `/var/vms/${VM}`,
  cid: 4321,
  manifest: { id: VM, vcpu: 1, memory: 2048, port_map: [] },
  cvm: {
    qgs_port: null,
    host_share_mode: "9p",
    qmp_socket: false,
    qemu_hotplug_off: false,
    qemu_pci_hole64_size: 0,
    user: "",
  },
  product: { sys_vendor: "own", product_name: "machine" },
  image: {
    dir: "/images/own",
    kernel: "bzImage",
    initrd: "initrd.img",
    rootfs: "rootfs.img.verity",
    bios: "ovmf.fd",
    shared_ro: true,
    cmdline: "console=ttyS0",
  },
  networks: [{ mode: "user", net: "10.0.2.0/24", dhcp_start: "10.0.2.10", restrict: false }],
};

const ports = [
  { protocol: "tcp", address: "127.0.0.1", from: 8080, to: 80 },
  { protocol: "udp", address: "0.0.0.0", from: 5353, to: 53 },
] as const;

function launches(): LaunchCase[] {
  const { manifest, cvm, image } = base;
  const list: Launch[] = [
    base,
    { ...base, name: "ports", manifest: { ...manifest, port_map: [...ports] } },
    { ...base, name: "bound and quoted", mrconfigid: "AAEC", cvm: { ...cvm, qgs_port: 4050 } },
    { ...base, name: "without a TEE", manifest: { ...manifest, no_tee: true } },
    { ...base, name: "bridge", networks: [{ mode: "bridge", bridge: "own-br0", mac_prefix: "0a" }] },
    { ...base, name: "two networks", networks: [...base.networks, { mode: "bridge", bridge: "own-br0" }] },
    { ...base, name: "vvfat share and a socket", cvm: { ...cvm, host_share_mode: "vvfat", qmp_socket: true } },
    { ...base, name: "vhd share", cvm: { ...cvm, host_share_mode: "vhd" } },
    {
      ...base,
      name: "no hotplug, a wide hole",
      cvm: { ...cvm, qemu_hotplug_off: true, qemu_pci_hole64_size: 2 ** 40 },
    },
    { ...base, name: "another user", cvm: { ...cvm, user: "nobody" } },
    { ...base, name: "no firmware of its own", image: { ...image, bios: null, cmdline: null, shared_ro: false } },
    { ...base, name: "volumes", manifest: { ...manifest, volumes: [{ source: "/v/a.img" }, { source: "/v/b.img" }] } },
  ];
  return list.map((launch) => ({ ...launch, argv: qemuArgv(inputsOf({ ...launch, argv: [] })) }));
}
