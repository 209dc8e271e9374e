/**
 * identity/ says who this instance is, and holds it against what others believe.
 * In: the manifest's bytes, the ids of earlier boots, MRCONFIGID, evidence of a KMS.
 * Out: app id and instance id; the app measured into RTMR3, in the order of the format.
 * Never: anything of the app run before it is measured; a development root trusted by a production image.
 */
import { appId, instanceId, toHex, type AppId, type InstanceId } from "@dstack/bytes";
import { appIdFromComposeHash, deriveInstanceId, type ParsedAppCompose } from "@dstack/compose";
import { GuestError } from "../errors.ts";
import type { InstanceInfo } from "../host/system-config.ts";

/** Who this instance is; both ids are measured. */
export interface Identity {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly instanceIdSeed: Uint8Array;
}

/**
 * App id: the stored one, else from the compose hash. Instance id: none where the manifest says
 * so, else from a seed that is random at first boot, and at each boot when no key outlives one.
 * @throws GuestError `config-invalid`
 */
export function resolveIdentity(
  manifest: ParsedAppCompose,
  stored: InstanceInfo,
  random: (size: number) => Uint8Array,
): Identity {
  const { compose } = manifest;
  if (stored.appId.length !== 0 && stored.appId.length !== 20) {
    throw new GuestError("config-invalid", `Invalid app id length: expected 20 bytes, got ${stored.appId.length}`);
  }
  const app = stored.appId.length === 0 ? appIdFromComposeHash(manifest.composeHash) : appId(stored.appId);
  const fresh = stored.instanceIdSeed.length === 0 || compose.keyProvider === "none";
  const seed = fresh ? random(20) : stored.instanceIdSeed;
  return {
    appId: app,
    instanceId: compose.noInstanceId ? instanceId(new Uint8Array()) : deriveInstanceId(seed, app),
    instanceIdSeed: seed,
  };
}

/** What the host keeps for the next boot, in the key order of the wire. */
export const instanceInfoJson = (identity: Identity): string =>
  JSON.stringify({
    instance_id_seed: toHex(identity.instanceIdSeed),
    instance_id: toHex(identity.instanceId),
    app_id: toHex(identity.appId),
  });
