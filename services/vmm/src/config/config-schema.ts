/** The keys of vmm.toml with their defaults. What each means: docs/reference/vmm.md. */
import { parseSize } from "@dstack/config";
import { z } from "zod";

const text = z.string();
const count = z.number().int().min(0).max(0xffff_ffff);
const port = z.number().int().min(0).max(65_535);
const size = z.union([z.number(), text]).transform((value, context) => {
  try {
    return Number(parseSize(value));
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
    return z.NEVER;
  }
});

const product = z.object({
  sys_vendor: text.default("dstack"),
  product_name: text.default("dstack"),
  bios_vendor: text.optional(),
  bios_version: text.optional(),
  bios_date: text.optional(),
  bios_release: text.optional(),
  product_version: text.optional(),
  product_serial: text.optional(),
  product_uuid: text.optional(),
  product_family: text.optional(),
  product_sku: text.optional(),
  board_vendor: text.optional(),
  board_name: text.optional(),
  board_version: text.optional(),
  board_serial: text.optional(),
  board_asset_tag: text.optional(),
  chassis_vendor: text.optional(),
  chassis_version: text.optional(),
  chassis_serial: text.optional(),
  chassis_asset_tag: text.optional(),
});

/** One network as it is resolved and stored in a manifest. */
export const networkingSchema = z.object({
  mode: text.default("user"),
  bridge: text.default(""),
  mac_prefix: text.default(""),
  net: text.default("10.0.2.0/24"),
  dhcp_start: text.default("10.0.2.10"),
  restrict: z.boolean().default(false),
  netdev: text.default(""),
});

const teeSimulator = z.object({
  platform: text.default("dstack-tdx"),
  mock_attestation_seed: z.string().regex(/^[0-9a-fA-F]{64}$/, "expected 64 hex digits"),
  collateral_base_url: text.default(""),
});

const cvm = z.object({
  platform: z.enum(["auto", "tdx", "amd-sev-snp"]).default("auto"),
  qemu_path: text.default(""),
  kms_urls: z.array(text).default(["http://127.0.0.1:8081"]),
  gateway_urls: z.array(text).optional(),
  tproxy_urls: z.array(text).optional(),
  pccs_url: text.default(""),
  docker_registry: text.default(""),
  tee_simulator: teeSimulator.optional(),
  nvidia_attestation_proxy_url: text.optional(),
  cid_start: count.default(1000),
  cid_pool_size: count.default(1000),
  max_allocable_vcpu: count.default(20),
  max_allocable_memory_in_mb: count.default(100_000),
  qmp_socket: z.boolean().default(false),
  user: text.default(""),
  instance_id: text.default(""),
  use_mrconfigid: z.boolean().default(true),
  qemu_single_pass_add_pages: z.boolean().optional(),
  qemu_pic: z.boolean().optional(),
  qemu_version: text.optional(),
  qemu_pci_hole64_size: size.default(0),
  qemu_hotplug_off: z.boolean().default(false),
  tdx_attestation_variant: z.enum(["legacy", "lite", "auto"]).default("auto"),
  host_share_mode: z.enum(["9p", "vhd", "vvfat"]).default("9p"),
  qgs_port: port.nullish().default(4050),
  /** Ours: `auto` boots a guest with KVM once and falls back to TCG; the others force one. */
  accelerator: z.enum(["auto", "kvm", "tcg"]).default("auto"),
  /** Ours: what carries host API and guest API. */
  guest_channel: z.enum(["auto", "virtio-serial", "vsock"]).default("auto"),
  product: product.prefault({}),
  networking: networkingSchema.prefault({}),
  port_mapping: z
    .object({
      enabled: z.boolean().default(false),
      address: text.default("127.0.0.1"),
      range: z
        .array(z.object({ protocol: z.enum(["tcp", "udp"]), from: port, to: port }))
        .default([{ protocol: "tcp", from: 1, to: 20_000 }]),
    })
    .prefault({}),
  auto_restart: z
    .object({
      enabled: z.boolean().default(true),
      interval: z.number().min(0).default(20),
      max_retries: count.default(5),
      initial_backoff: z.number().min(0).default(5),
      max_backoff: z.number().min(0).default(300),
      reset_window: z.number().min(0).default(300),
    })
    .prefault({}),
  log: z
    .object({
      max_bytes: size.default(4 * 1024 * 1024),
      max_backups: count.default(3),
      check_interval_secs: count.default(5),
    })
    .prefault({}),
  gpu: z
    .object({ enabled: z.boolean().default(false), allow_attach_all: z.boolean().default(true) })
    .loose()
    .prefault({}),
});

export const vmmConfigSchema = z.object({
  address: text.default("unix:./vmm.sock"),
  port: port.optional(),
  kms_url: text.default("http://127.0.0.1:8081"),
  event_buffer_size: count.default(20),
  node_name: text.default(""),
  run_path: text.default("~/.dstack-vmm/vm"),
  image_path: text.default("~/.dstack-vmm/image"),
  image: z.object({ path: text.default(""), registry: text.default("") }).prefault({}),
  limits: z.record(z.string(), size).default({}),
  cvm: cvm.prefault({}),
  gateway: z
    .object({ base_domain: text.default("localhost"), port: port.default(8082), agent_port: port.default(8090) })
    .prefault({}),
  auth: z
    .object({ enabled: z.boolean().default(false), tokens: z.array(text).default([]), htpasswd_file: text.default("") })
    .prefault({}),
  /** Ours: whom the console asks, before a deployment, whether the KMS will release keys. `device_id`: 64 hex digits. */
  auth_webhook: z.object({ url: text.default(""), device_id: text.default("") }).prefault({}),
  supervisor: z
    .object({
      exe: text.default(""),
      sock: text.default("./run/supervisor.sock"),
      pid_file: text.default("./run/supervisor.pid"),
      log_file: text.default("./run/supervisor.log"),
      detached: z.boolean().default(true),
      auto_start: z.boolean().default(true),
    })
    .prefault({}),
  host_api: z
    .object({ ident: text.default("dstack VMM"), address: text.default("vsock:2"), port: port.default(10_000) })
    .prefault({}),
  key_provider: z
    .object({ enabled: z.boolean().default(true), address: text.default("127.0.0.1"), port: port.default(3443) })
    .prefault({}),
});

export type RawConfig = z.output<typeof vmmConfigSchema>;
export type Networking = z.output<typeof networkingSchema>;
export type Product = z.output<typeof product>;
export type TeeSimulatorConfig = z.output<typeof teeSimulator>;

/** Keys of the reference that change nothing here: sizes of its thread pools and the like. */
export const SILENT_KEYS = [
  "workers",
  "max_blocking",
  "ident",
  "temp_dir",
  "keep_alive",
  "log_level",
  "reuse",
  "netd",
  "cvm.volumes_dir",
  "cvm.network_filter",
  "cvm.networking.forward_service_enabled",
  "cvm.networking.passt_exec",
  "cvm.networking.interface",
  "cvm.networking.address",
  "cvm.networking.netmask",
  "cvm.networking.gateway",
  "cvm.networking.dns",
  "cvm.networking.map_host_loopback",
  "cvm.networking.map_guest_addr",
  "cvm.networking.no_map_gw",
  "cvm.networking.ipv4_only",
];
