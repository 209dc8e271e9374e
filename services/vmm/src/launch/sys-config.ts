/** The files that a guest reads about its host: .sys-config.json and, simulated, .tee-simulator.json. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import type { ParsedAppCompose } from "@dstack/compose";
import type { ImageDirectory } from "@dstack/image";
import {
  buildCcel,
  encodeVmConfig,
  measureVm,
  TDX_MEASUREMENT_FILE,
  type MeasurementMaterial,
  type VmConfig,
} from "@dstack/measure";
import { VmmError } from "../errors.ts";
import { atLeast, imageVersion, readMeasuredFiles } from "./guest-image.ts";
import type { LaunchBinding } from "./launch-binding.ts";
import type { Manifest } from "../vm/manifest.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

/** What `vm_config` says of a machine; each field must match the QEMU command line. */
export async function vmConfigOf(
  manifest: Manifest,
  config: VmmConfig,
  image: ImageDirectory,
  compose: ParsedAppCompose,
  qemuVersion: string | undefined,
): Promise<VmConfig> {
  const { cvm } = config;
  const material = await measurementMaterial(image);
  const variant = attestationVariant(manifest, config, compose, material !== undefined);
  return {
    ...(image.osImageHash === undefined ? {} : { osImageHash: image.osImageHash }),
    cpuCount: Math.max(1, manifest.vcpu),
    memoryBytes: manifest.memory * 1024 * 1024,
    ...(cvm.qemu_single_pass_add_pages === undefined ? {} : { twoPassAddPages: cvm.qemu_single_pass_add_pages }),
    ...(cvm.qemu_pic === undefined ? {} : { pic: cvm.qemu_pic }),
    ...(qemuVersion === undefined ? {} : { qemuVersion }),
    pciHole64Bytes: cvm.qemu_pci_hole64_size,
    hugepages: manifest.hugepages,
    numGpus: 0,
    numNvswitches: 0,
    numNics: Math.max(1, manifest.networks.length),
    numVerityVolumes: manifest.volumes.length,
    swtpm: false,
    hotplugOff: cvm.qemu_hotplug_off,
    image: manifest.image,
    hostShareMode: cvm.host_share_mode,
    ...(image.metadata.ovmf_variant === undefined ? {} : { ovmfVariant: image.metadata.ovmf_variant }),
    attestationVariant: variant,
    ...(material === undefined ? {} : { tdxMeasurement: material }),
  };
}

const SMALL_MEMORY_MB = 3072;

function attestationVariant(
  manifest: Manifest,
  config: VmmConfig,
  { compose }: ParsedAppCompose,
  hasMaterial: boolean,
): "legacy" | "lite" {
  const demanded = compose.requirements?.tdxMeasureAcpiTables;
  const policy = demanded === undefined ? config.cvm.tdx_attestation_variant : demanded ? "legacy" : "lite";
  if (policy === "legacy") return "legacy";
  if (policy === "lite") {
    if (!hasMaterial)
      throw new VmmError(
        "image-unusable",
        `image ${manifest.image} has no ${TDX_MEASUREMENT_FILE}, which TDX lite attestation needs`,
      );
    return "lite";
  }
  // A simulated TEE can always be measured in full, so nothing is gained by the lite form.
  if (manifest.simulated_tee !== undefined) return "legacy";
  if (manifest.memory < SMALL_MEMORY_MB && manifest.memory !== 2048) return "legacy";
  return hasMaterial ? "lite" : "legacy";
}

async function measurementMaterial(image: ImageDirectory): Promise<MeasurementMaterial | undefined> {
  if (image.osImageHash === undefined) return undefined;
  try {
    const [checksumFile, measurement] = await Promise.all([
      readFile(join(image.dir, "sha256sum.txt")),
      readFile(join(image.dir, TDX_MEASUREMENT_FILE)),
    ]);
    return { checksumFile: new Uint8Array(checksumFile), measurement: new Uint8Array(measurement) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** @throws VmmError `image-unusable` for images that are too old */
export function sysConfigText(
  manifest: Manifest,
  config: VmmConfig,
  image: ImageDirectory,
  vmConfig: VmConfig,
  binding: LaunchBinding,
  channelUrl: string,
): string {
  const version = imageVersion(image.version);
  if (!atLeast(version, 0, 5, 0))
    throw new VmmError("image-unusable", `Unsupported image version: (${version.join(", ")})`);
  const { cvm } = config;
  return JSON.stringify({
    kms_urls: manifest.kms_urls.length > 0 ? manifest.kms_urls : cvm.kms_urls,
    gateway_urls: manifest.gateway_urls.length > 0 ? manifest.gateway_urls : config.gatewayUrls,
    pccs_url: cvm.pccs_url,
    docker_registry: cvm.docker_registry,
    host_api_url: channelUrl,
    vm_config: encodeVmConfig(vmConfig),
    collateral_urls: { pccs: cvm.pccs_url },
    nvidia_attestation_proxy_url: cvm.nvidia_attestation_proxy_url ?? null,
    ...(binding.document === undefined ? {} : { mr_config: binding.document }),
  });
}

/**
 * What the simulator in the guest answers quotes with: measurements of the very files that QEMU is
 * about to read, so that a swapped file shows as it would on hardware.
 * @throws VmmError `config-invalid` without `[cvm.tee_simulator]`; MeasureError
 */
export async function teeSimulatorText(
  platform: string,
  config: VmmConfig,
  image: ImageDirectory,
  vmConfig: VmConfig,
  binding: LaunchBinding,
): Promise<string> {
  const simulator = config.cvm.tee_simulator;
  if (simulator === undefined)
    throw new VmmError("config-invalid", "tee simulator credentials are not configured on this VMM");
  const measured = measureVm(await readMeasuredFiles(image), vmConfig);
  return JSON.stringify({
    platform,
    mock_attestation_seed: simulator.mock_attestation_seed.toLowerCase(),
    collateral_base_url: simulator.collateral_base_url,
    ...(binding.document === undefined ? {} : { mr_config: binding.document }),
    vm_config: encodeVmConfig(vmConfig),
    tdx: {
      mrtd: toHex(measured.mrtd),
      rtmr0: toHex(measured.rtmr0),
      rtmr1: toHex(measured.rtmr1),
      rtmr2: toHex(measured.rtmr2),
      mr_config_id: toHex(binding.mrConfigId ?? new Uint8Array(48)),
      ccel: Buffer.from(buildCcel(measured.events)).toString("base64"),
    },
  });
}
