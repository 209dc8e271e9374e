/**
 * The keys of vmm.toml that this VMM reads, with their defaults and what each is for: those of
 * 0.5.5, 0.5.6 and 0.6.0 load alike. Keys that are taken and not acted on stand in unread-keys.ts.
 */
import { oneOrMore } from "@dstack/config";
import { AGENT_PORT } from "@dstack/proto/wire";
import { parseSize } from "@dstack/bytes";
import { vmm } from "@dstack/proto";
import { z } from "zod";

const text = z.string();
const textOf = (fallback: string) => text.default(fallback);
const path = text.meta({ title: "path" });
const url = text.meta({ title: "URL" });
const urls = z.array(text).meta({ title: "list of URLs" });
const flag = (fallback: boolean) => z.boolean().default(fallback);
const number = z.number().int().min(0).max(0xffff_ffff).meta({ title: "whole number" });
const count = (fallback: number) => number.default(fallback);
const portNumber = z.number().int().min(0).max(65_535).meta({ title: "port" });
const port = (fallback: number) => portNumber.default(fallback);
const seconds = (fallback: number) => z.number().min(0).meta({ title: "seconds" }).default(fallback);
const sizeText = z.union([z.number(), text]).meta({ title: "size: bytes, or with K, M, G or T" });
const toBytes = (value: number | string, context: z.RefinementCtx): number => {
  try {
    return Number(parseSize(value));
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
    return z.NEVER;
  }
};
const size = (fallback: number | string) => sizeText.default(fallback).transform(toBytes);
const smbios = text.optional();

const product = z.object({
  sys_vendor: textOf("dstack").describe("SMBIOS type 1, manufacturer. All of `cvm.product` is measured"),
  product_name: textOf("dstack").describe("SMBIOS type 1, product"),
  bios_vendor: smbios.describe("SMBIOS type 0"),
  bios_version: smbios.describe("SMBIOS type 0"),
  bios_date: smbios.describe("SMBIOS type 0"),
  bios_release: smbios.describe("SMBIOS type 0"),
  product_version: smbios.describe("SMBIOS type 1"),
  product_serial: smbios.describe("SMBIOS type 1"),
  product_uuid: smbios.describe("SMBIOS type 1"),
  product_family: smbios.describe("SMBIOS type 1"),
  product_sku: smbios.describe("SMBIOS type 1"),
  board_vendor: smbios.describe("SMBIOS type 2"),
  board_name: smbios.describe("SMBIOS type 2"),
  board_version: smbios.describe("SMBIOS type 2"),
  board_serial: smbios.describe("SMBIOS type 2"),
  board_asset_tag: smbios.describe("SMBIOS type 2"),
  chassis_vendor: smbios.describe("SMBIOS type 3"),
  chassis_version: smbios.describe("SMBIOS type 3"),
  chassis_serial: smbios.describe("SMBIOS type 3"),
  chassis_asset_tag: smbios.describe("SMBIOS type 3"),
});

/** One network as it is resolved, and stored in a manifest under these very names. */
export const networkingSchema = z.object({
  mode: textOf("user").describe(
    "Network of VMs that ask for none of their own: `user` (behind QEMU's own address translation), `bridge` or `custom`",
  ),
  bridge: textOf("").describe("Name of the host's bridge for mode `bridge`"),
  mac_prefix: textOf("").describe(
    "First one to three bytes of MAC addresses, in hex, joined by colons; the rest is derived from the VM's id",
  ),
  net: textOf("10.0.2.0/24").describe("Mode `user`: the network that guests see"),
  dhcp_start: textOf("10.0.2.10").describe("Mode `user`: first address given to guests"),
  restrict: flag(false).describe("Mode `user`: guests reach nothing but what port mappings let in"),
  netdev: textOf("").describe("Mode `custom`: QEMU's `-netdev` value as it is, with `id=net0`"),
});

const teeSimulator = z.object({
  platform: z.enum(["dstack-tdx"]).default("dstack-tdx").describe("The platform that is simulated"),
  mock_attestation_seed: text
    .regex(/^[0-9a-fA-F]{64}$/, "expected 64 hex digits")
    .describe(
      "The simulators' common secret, 64 hex digits: whoever has it can make quotes that verify against its root",
    ),
  collateral_base_url: textOf("").describe("Where verifiers fetch the simulated collateral, as the guest reaches it"),
});

const gpu = z.object({
  enabled: flag(false).describe("Must be false: GPUs are not supported"),
  allow_attach_all: flag(true).describe("Told to clients by `ListGpus`"),
});

const cvm = z.object({
  platform: z
    .enum(["auto", "tdx", "amd-sev-snp"])
    .default("auto")
    .describe("What VMs run on; `amd-sev-snp` is refused, since it is not supported"),
  qemu_path: path.default("").describe("QEMU. Empty: `$DSTACK_QEMU_DIR/bin`, `/etc/dstack/client.conf`, `PATH`"),
  kms_urls: urls.default(["http://127.0.0.1:8081"]).describe("KMS that guests ask for keys, unless a VM has its own"),
  gateway_urls: urls
    .optional()
    .describe("Gateways that guests register with, unless a VM has its own. Without it `http://127.0.0.1:8082`"),
  tproxy_urls: urls.optional().describe("Older name of `cvm.gateway_urls`, which wins"),
  pccs_url: oneOrMore(text, "URL")
    .prefault("")
    .describe("Service for Intel's collateral that guests use; empty: none of the node's"),
  docker_registry: textOf("").describe("Registry mirror that guests pull from"),
  tee_simulator: teeSimulator
    .optional()
    .describe("Allows VMs with a simulated TEE. Their evidence proves nothing to anybody: development only"),
  nvidia_attestation_proxy_url: url.optional().describe("Given to guests"),
  cid_start: count(1000).describe("First id of VMs on their channel to the host, at least 3"),
  cid_pool_size: count(1000).describe("How many ids there are: the size bounds the number of VMs"),
  max_allocable_vcpu: count(20).describe("Virtual CPUs that all started VMs may take together; enforced"),
  max_allocable_memory_in_mb: count(100_000).describe(
    "Memory, in MB, that all started VMs may take together; enforced",
  ),
  qmp_socket: flag(false).describe("Gives each QEMU a monitor socket in its work directory"),
  user: textOf("").describe("Runs QEMU as this user through `sudo -u`; empty: as the VMM's own"),
  use_mrconfigid: flag(true).describe("Binds each VM to its compose hash from its first moment"),
  qemu_single_pass_add_pages: z
    .boolean()
    .optional()
    .describe("How this QEMU adds memory, for whoever recomputes measurements"),
  qemu_pic: z
    .boolean()
    .optional()
    .describe("Whether this QEMU has an interrupt controller of old, for whoever recomputes measurements"),
  qemu_version: text.optional().describe("Version told to whoever recomputes measurements; without it QEMU is asked"),
  qemu_pci_hole64_size: size(0).describe("Size of the PCI hole above 4 GB; 0: QEMU's own"),
  qemu_hotplug_off: flag(false).describe("Turns off PCI hotplug with bridges, which changes what is measured"),
  tdx_attestation_variant: z
    .enum(["legacy", "lite", "auto"])
    .default("auto")
    .describe("How a TDX machine's tables are measured; a simulated TEE is `legacy` under `auto`"),
  host_share_mode: z
    .enum(["9p", "vhd", "vvfat"])
    .default("9p")
    .describe("How guests get their files; `vhd` is refused, since it is not supported"),
  qgs_port: portNumber
    .nullable()
    .default(4050)
    .meta({ title: "port, or null" })
    .describe("Port of the host's quote generation service for TDX; null: none"),
  accelerator: z
    .enum(["auto", "kvm", "tcg"])
    .default("auto")
    .describe(
      "Ours. `auto` boots a kernel with KVM once and falls back to TCG; the others force one. TDX machines always use KVM",
    ),
  guest_channel: z
    .enum(["auto", "virtio-serial", "vsock"])
    .default("auto")
    .describe(
      "Ours. What carries the host's and the guest's API. `auto` is virtio-serial; `vsock` gives guests of other makers the device they expect, but the host API is not served on it yet",
    ),
  product: product.prefault({}),
  networking: networkingSchema.prefault({}),
  port_mapping: z
    .object({
      enabled: flag(false).describe("Lets VMs ask for ports of the host"),
      address: textOf("127.0.0.1").describe("Host address of mappings that name none"),
      range: z
        .array(z.object({ protocol: z.enum(["tcp", "udp"]), from: portNumber, to: portNumber }))
        .meta({ title: "list of { protocol, from, to }" })
        .default([{ protocol: "tcp", from: 1, to: 20_000 }])
        .describe("Host ports that may be asked for: tcp 1 to 20000 unless set"),
    })
    .prefault({}),
  auto_restart: z
    .object({
      enabled: flag(true).describe("Starts VMs again that ended and should run"),
      interval: seconds(20).describe("Between two checks"),
      max_retries: count(5).describe("Starts that may fail in a row; then the event `vmm.auto_restart.exhausted`"),
      initial_backoff: seconds(5).describe("Wait before the first start; each further one waits twice as long"),
      max_backoff: seconds(300).describe("Longest wait"),
      reset_window: seconds(300).describe("A VM that ran so long has all its retries again"),
    })
    .prefault({}),
  log: z
    .object({
      max_bytes: size("4M").describe("Size from which a serial, stdout or stderr log is rotated; 0: never"),
      max_backups: count(3).describe("Rotated files that are kept; 0 discards instead"),
      check_interval_secs: number.meta({ title: "seconds" }).default(5).describe("Between two looks at the sizes"),
    })
    .prefault({}),
  gpu: gpu.prefault({}),
});

const METHODS: readonly string[] = Object.values(vmm.Vmm.method).map(({ name }) => name);
/** Kinds of bodies that the reference's web framework bounds, none of which this API takes. */
const FRAMEWORK_LIMITS = ["bytes", "data-form", "file", "form", "json", "msgpack", "string"];
const limits = z
  .record(text, sizeText.transform(toBytes))
  .superRefine((table, context) => {
    for (const name of Object.keys(table).filter((name) => !METHODS.includes(name) && !FRAMEWORK_LIMITS.includes(name)))
      context.addIssue({ code: "custom", path: [name], message: "no method of the API has this name" });
  })
  .meta({ title: "table of sizes" });

export const vmmConfigSchema = z.object({
  address: textOf("unix:./vmm.sock").describe(
    "Where the management API listens: `unix:PATH` (mode 0600), `IP:PORT` or `tcp:IP:PORT`",
  ),
  port: portNumber.optional().describe("Its port; wins over the one in `address`. Neither: 8000"),
  kms_url: url.default("http://127.0.0.1:8081").describe("KMS that `GetAppEnvEncryptPubKey` asks; empty: nobody"),
  event_buffer_size: count(20).describe("Guest events kept per VM"),
  node_name: textOf("").describe("Shown by the console"),
  run_path: path.default("~/.dstack-vmm/vm").describe("Work directories, one per VM"),
  image_path: path.default("~/.dstack-vmm/image").describe("Older name of `image.path`, which wins"),
  image: z
    .object({
      path: path.default("").describe("Guest images, one folder each; `mr_<hash>.tar.gz` bundles beside them"),
    })
    .prefault({}),
  limits: limits.default({}).describe('Body limit of single methods, by name: `CreateVm = "20M"`. 10M for the others'),
  cvm: cvm.prefault({}),
  gateway: z
    .object({
      base_domain: textOf("localhost").describe("Domain in the addresses of apps"),
      port: port(8082).describe("Port in the addresses of apps"),
      agent_port: port(AGENT_PORT).describe("Port of the guest agent in the addresses of apps"),
    })
    .prefault({}),
  auth: z
    .object({
      enabled: flag(false).describe("Asks everybody for a token"),
      tokens: z.array(text).default([]).describe("Tokens of the management API; with none everybody is refused"),
      htpasswd_file: textOf("").describe("Must be empty: password files are not supported"),
    })
    .prefault({}),
  auth_webhook: z
    .object({
      url: url
        .default("")
        .describe(
          "Ours. The authorization webhook that the KMS asks; the VMM asks it too, before a deployment, so that people see the answer. Empty: the console says that it does not know",
        ),
      device_id: textOf("").describe(
        "Ours. This machine's device id, 64 hex digits, for that question; it is in the webhook's log with each boot of this machine",
      ),
      bearer_token_file: path
        .default("")
        .describe("Ours. File with the token that the webhook wants, read at each question; empty: none"),
      answer_keys: z
        .array(text)
        .max(8)
        .default([])
        .describe(
          "Ours. Keys of which one must have signed the webhook's answers, as `core.auth_api.webhook.answer_keys` of the KMS",
        ),
    })
    .prefault({}),
  attestation: z
    .object({
      urls: z
        .object({
          pccs: oneOrMore(text, "URL")
            .optional()
            .describe(
              "Ours. Service for Intel's collateral, by which `/metrics` says how current the platform of the guests is; nobody is asked without it",
            ),
        })
        .prefault({}),
      insecure_allow_external_trust_anchors: flag(false).describe(
        "Ours. Admits `attestation.root_ca`, for development",
      ),
      root_ca: z
        .object({ tdx: path.default("").describe("Ours. PEM file of a root in the place of Intel's") })
        .prefault({}),
    })
    .prefault({}),
  supervisor: z
    .object({
      exe: path.default("").describe("Another supervisor; empty: ours"),
      sock: path.default("./run/supervisor.sock").describe("Its socket"),
      pid_file: path.default("./run/supervisor.pid").describe("Where it writes its process id"),
      log_file: path.default("./run/supervisor.log").describe("Where it logs"),
      detached: flag(true).describe("Lets it and all VMs outlive the VMM"),
      auto_start: flag(true).describe("Starts one where none answers"),
    })
    .prefault({}),
  host_api: z
    .object({
      ident: textOf("dstack VMM").describe("The name that guests are told"),
      address: textOf("vsock:2").describe("`vsock:` and a CID; TCP and Unix sockets are refused"),
      port: port(10_000).describe('Written into guests\' configuration with `cvm.guest_channel = "vsock"`'),
    })
    .prefault({}),
  key_provider: z
    .object({
      enabled: flag(true).describe("Gives guests sealing keys of the local SGX key provider"),
      address: textOf("127.0.0.1").describe("Its address"),
      port: port(3443).describe("Its port"),
    })
    .prefault({}),
});

export type RawConfig = z.output<typeof vmmConfigSchema>;
export type Networking = z.output<typeof networkingSchema>;

/** Keys without which this VMM refuses less. */
export const PROTECTING_KEYS: readonly string[] = [
  "auth.enabled",
  "auth.tokens",
  "auth_webhook.answer_keys",
  "cvm.networking.restrict",
  "cvm.port_mapping.range",
  "cvm.user",
];
