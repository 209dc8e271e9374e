/** MRCONFIGID: what binds a VM to its app from its first moment, and the document behind version 3. */
import { createHash, randomBytes } from "node:crypto";
import { mrConfigIdV1, mrConfigIdV2, mrConfigIdV3 } from "@dstack/attest";
import { appId, parseHex, parseHexOfLength, toHex, type AppId, type Hash48 } from "@dstack/bytes";
import { appIdFromComposeHash, deriveInstanceId, type ParsedAppCompose } from "@dstack/compose";
import { VmmError } from "../errors.ts";
import { atLeast, type ImageVersion } from "./guest-image.ts";
import type { InstanceInfo } from "../vm/vm-folder.ts";

export interface LaunchBinding {
  /** Undefined: nothing is bound, 48 zero bytes. */
  readonly mrConfigId: Hash48 | undefined;
  /** The document's exact text, given to the guest; version 3 only. */
  readonly document: string | undefined;
  /** Must be stored before the start, since the document names the instance. */
  readonly instanceInfo: InstanceInfo | undefined;
}

/** The binding of a VM that has none. */
export const NOT_BOUND: LaunchBinding = { mrConfigId: undefined, document: undefined, instanceInfo: undefined };

export interface BindingInputs {
  readonly compose: ParsedAppCompose;
  readonly imageVersion: ImageVersion;
  readonly useMrConfigId: boolean;
  readonly instanceInfo: InstanceInfo;
  readonly random?: (length: number) => Uint8Array;
}

/** @throws VmmError `vm-broken`, `config-invalid` */
export function launchBinding(inputs: BindingInputs): LaunchBinding {
  const { compose, imageVersion } = inputs;
  const pinned = compose.compose.keyProviderId;
  if (!inputs.useMrConfigId) {
    if (pinned.length > 0)
      throw new VmmError("config-invalid", "key provider ID requires MrConfigV3, but use_mrconfigid is disabled");
    return NOT_BOUND;
  }
  if (!atLeast(imageVersion, 0, 5, 2)) return NOT_BOUND;
  if (pinned.length === 0) return { ...NOT_BOUND, mrConfigId: mrConfigIdV1(compose.composeHash) };
  const app = storedAppId(inputs);
  // Guests before 0.6.0 know versions 1 and 2 only.
  if (!atLeast(imageVersion, 0, 6, 0))
    return { ...NOT_BOUND, mrConfigId: mrConfigIdV2(compose.composeHash, app, compose.compose.keyProvider, pinned) };
  const instanceInfo = preparedInstance(inputs, app);
  const document = mrConfigDocument(compose, app, instanceInfo.instanceId);
  return { mrConfigId: mrConfigIdV3(document), document, instanceInfo };
}

/** JSON with sorted keys and no spaces, absent members left out. */
function mrConfigDocument({ composeHash, compose }: ParsedAppCompose, app: AppId, instance: string): string {
  return JSON.stringify({
    app_id: toHex(app),
    compose_hash: toHex(composeHash),
    ...(compose.manifestVersion >= 3
      ? { init_script_hashes: compose.initScripts.map((script) => createHash("sha256").update(script).digest("hex")) }
      : {}),
    instance_id: instance,
    key_provider: compose.keyProvider,
    ...(compose.keyProviderId.length === 0 ? {} : { key_provider_id: toHex(compose.keyProviderId) }),
    version: 3,
  });
}

function storedAppId({ instanceInfo, compose }: BindingInputs): AppId {
  if (instanceInfo.appId === "") return appIdFromComposeHash(compose.composeHash);
  try {
    return appId(parseHexOfLength(instanceInfo.appId, 20, "app id"));
  } catch (cause) {
    throw new VmmError("vm-broken", `.instance_info: ${(cause as Error).message}`, { cause });
  }
}

function preparedInstance(inputs: BindingInputs, app: AppId): InstanceInfo {
  const { compose } = inputs.compose;
  const keep = inputs.instanceInfo.instanceIdSeed !== "" && compose.keyProvider !== "none";
  const seed = keep
    ? parseHex(inputs.instanceInfo.instanceIdSeed, "instance_id_seed")
    : (inputs.random ?? randomBytes)(20);
  return {
    appId: toHex(app),
    instanceIdSeed: toHex(seed),
    instanceId: compose.noInstanceId ? "" : toHex(deriveInstanceId(seed, app)),
  };
}
