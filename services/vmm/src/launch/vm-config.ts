import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ParsedAppCompose } from "@dstack/compose";
import type { ImageDirectory } from "@dstack/image";
import { TDX_MEASUREMENT_FILE, type MeasurementMaterial, type VmConfig } from "@dstack/measure";
import type { VmmConfig } from "../config/vmm-config.ts";
import { VmmError } from "../errors.ts";
import type { Manifest } from "../vm/manifest.ts";

export interface VmConfigInputs {
  readonly manifest: Manifest;
  readonly config: VmmConfig;
  readonly image: ImageDirectory;
  readonly compose: ParsedAppCompose;
  /** Undefined when it cannot be told. */
  readonly qemuVersion: string | undefined;
}

/** What `vm_config` says of a machine; each field must match the QEMU command line. */
export async function vmConfigOf(inputs: VmConfigInputs): Promise<VmConfig> {
  const { manifest, image, qemuVersion } = inputs;
  const { cvm } = inputs.config;
  const material = await measurementMaterial(image);
  const variant = attestationVariant(inputs, material !== undefined);
  return {
    ...(image.osImageHash === undefined ? {} : { osImageHash: image.osImageHash }),
    cpuCount: Math.max(1, manifest.vcpu),
    memoryBytes: manifest.memory * 1024 * 1024,
    ...(cvm.qemuSinglePassAddPages === undefined ? {} : { twoPassAddPages: cvm.qemuSinglePassAddPages }),
    ...(cvm.qemuPic === undefined ? {} : { pic: cvm.qemuPic }),
    ...(qemuVersion === undefined ? {} : { qemuVersion }),
    pciHole64Bytes: cvm.qemuPciHole64Size,
    hugepages: manifest.hugepages,
    numGpus: 0,
    numNvswitches: 0,
    numNics: Math.max(1, manifest.networks.length),
    numVerityVolumes: manifest.volumes.length,
    swtpm: false,
    hotplugOff: cvm.qemuHotplugOff,
    image: manifest.image,
    hostShareMode: cvm.hostShareMode,
    ...(image.metadata.ovmf_variant === undefined ? {} : { ovmfVariant: image.metadata.ovmf_variant }),
    attestationVariant: variant,
    ...(material === undefined ? {} : { tdxMeasurement: material }),
  };
}

const SMALL_MEMORY_MB = 3072;

function attestationVariant({ manifest, config, compose }: VmConfigInputs, hasMaterial: boolean): "legacy" | "lite" {
  const demanded = compose.compose.requirements?.tdxMeasureAcpiTables;
  const policy = demanded === undefined ? config.cvm.tdxAttestationVariant : demanded ? "legacy" : "lite";
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
