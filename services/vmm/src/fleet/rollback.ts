import { toHex, type Hash32 } from "@dstack/bytes";
import { appIdFromComposeHash } from "@dstack/compose";
import type { VmmConfig } from "../config/vmm-config.ts";
import { VmmError } from "../errors.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import type { KeptVersion } from "../vm/app-version.ts";
import type { Manifest } from "../vm/manifest.ts";
import { networksOf, type Vm } from "../vm/vm.ts";
import { mustBeStopped, refuseBroken, type UpdatePlan } from "./update-vm.ts";
import { checkImageFits, checkPortsAgainst, readCompose, refuseDeadPorts } from "./vm-request.ts";

/** What a running VM cannot change. */
const RESOURCES = ["vcpu", "memory", "image"] as const;

export interface RollbackPlan extends UpdatePlan {
  readonly composeHash: Hash32;
}

/** The plan that puts a kept version back, by the rules of an update. @throws VmmError */
export async function planRollback(
  vm: Vm,
  kept: KeptVersion,
  config: VmmConfig,
  others: readonly Vm[],
): Promise<RollbackPlan> {
  refuseBroken(vm);
  const compose = readCompose(textOf(kept.compose));
  const manifest: Manifest = { ...vm.manifest, ...versioned(kept.manifest) };
  if (RESOURCES.some((key) => manifest[key] !== vm.manifest[key])) mustBeStopped(vm);
  checkPortsAgainst(manifest.port_map, others);
  refuseDeadPorts(manifest.port_map, networksOf({ manifest }, config));
  checkImageFits(await loadGuestImage(config.imagePath, manifest.image), compose);
  return {
    manifest,
    compose: { kind: "write", data: kept.compose },
    encryptedEnv: kept.encryptedEnv === undefined ? { kind: "remove" } : { kind: "write", data: kept.encryptedEnv },
    userConfig: kept.userConfig === undefined ? { kind: "remove" } : { kind: "write", data: kept.userConfig },
    growToGb: undefined,
    replacesVersion: true,
    composeHash: compose.composeHash,
    composeId: toHex(appIdFromComposeHash(compose.composeHash)),
    parts: ["rollback"],
  };
}

/** What an update can change of a manifest, but for the disk's size, which only grows. */
const versioned = (manifest: Manifest): Partial<Manifest> => ({
  vcpu: manifest.vcpu,
  memory: manifest.memory,
  image: manifest.image,
  port_map: manifest.port_map,
  networks: manifest.networks,
  no_tee: manifest.no_tee,
  kms_urls: manifest.kms_urls,
  gateway_urls: manifest.gateway_urls,
});

/** As the request was that brought it, a byte order mark included. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new VmmError("vm-broken", "the previous version's app-compose.json is not UTF-8", { cause });
  }
}
