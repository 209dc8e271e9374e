/** The files that a guest reads about its host: .sys-config.json and, simulated, .tee-simulator.json. */
import { toHex } from "@dstack/bytes";
import { buildCcel, encodeVmConfig, measureVm } from "@dstack/measure";
import { HOST_PORT_NAME } from "@dstack/vm-channel";
import type { VmmConfig } from "../config/vmm-config.ts";
import { VmmError } from "../errors.ts";
import type { Manifest } from "../vm/manifest.ts";
import { atLeast, imageVersion, readMeasuredFiles } from "./guest-image.ts";
import type { Launch } from "./prepare-launch.ts";

/** Of the VM itself its manifest is all that they tell. */
type ShareInputs = Omit<Launch, "vm"> & { readonly vm: { readonly manifest: Manifest } };

/** @throws VmmError `image-unusable` for images that are too old */
export function sysConfigText({ vm: { manifest }, config, image, vmConfig, binding }: ShareInputs): string {
  const version = imageVersion(image.version);
  if (!atLeast(version, 0, 5, 0))
    throw new VmmError("image-unusable", `Unsupported image version: (${version.join(", ")})`);
  const { cvm } = config;
  return JSON.stringify({
    kms_urls: manifest.kms_urls.length > 0 ? manifest.kms_urls : cvm.kmsUrls,
    gateway_urls: manifest.gateway_urls.length > 0 ? manifest.gateway_urls : config.cvm.gatewayUrls,
    pccs_url: cvm.pccsUrls[0] ?? "",
    docker_registry: cvm.dockerRegistry,
    host_api_url: channelUrl(config),
    vm_config: encodeVmConfig(vmConfig),
    collateral_urls: { pccs: cvm.pccsUrls[0] ?? "" },
    ...(cvm.pccsUrls.length > 1 ? { pccs_urls: cvm.pccsUrls } : {}),
    nvidia_attestation_proxy_url: cvm.nvidiaAttestationProxyUrl ?? null,
    ...(binding.document === undefined ? {} : { mr_config: binding.document }),
  });
}

/**
 * What the simulator in the guest answers quotes with: measurements of the very files that QEMU is
 * about to read, so that a swapped file shows as it would on hardware. Undefined for any other VM.
 * @throws VmmError `config-invalid` without `[cvm.tee_simulator]`; MeasureError
 */
export async function teeSimulatorText(launch: ShareInputs): Promise<string | undefined> {
  const { config, image, vmConfig, binding } = launch;
  const platform = launch.vm.manifest.simulated_tee;
  if (platform === undefined) return undefined;
  const simulator = config.cvm.teeSimulator;
  if (simulator === undefined)
    throw new VmmError("config-invalid", "tee simulator credentials are not configured on this VMM");
  const measured = measureVm(await readMeasuredFiles(image), vmConfig);
  return JSON.stringify({
    platform,
    mock_attestation_seed: simulator.mockAttestationSeed.toLowerCase(),
    collateral_base_url: simulator.collateralBaseUrl,
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

const channelUrl = ({ cvm, hostApi }: VmmConfig): string =>
  cvm.guestChannel === "vsock" ? `vsock://2:${hostApi.port}/api` : `virtio-serial://${HOST_PORT_NAME}/api`;
