/**
 * keys/ is how the app comes to its keys and certificates.
 * In: who this is (measured already), the KMS servers that the host names, the way to its key provider, the TEE.
 * Out: keys of the right lengths, from a provider that is the pinned one; certificates for keys of the app.
 * Never: a key in a log, an argument or an environment; evidence shown to a KMS that fails its pin; a boot that goes
 * on with something else than what the host bound at launch.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Tee } from "@dstack/agent";
import { BOOT_EVENT, parseQuote, tdReportOf, type Attestation } from "@dstack/attest";
import { writeSecret } from "@dstack/files";
import type { EvidenceVerifier, TempCa } from "@dstack/ratls";
import { GuestError } from "../errors.ts";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { Identity } from "../identity/identity.ts";
import { checkLaunchBinding } from "../identity/launch-binding.ts";
import { initScriptHashes } from "../identity/measure-app.ts";
import type { BootContext } from "../system/boot-context.ts";
import {
  appKeysJson,
  keyProviderEvent,
  keysFromSeed,
  providerId,
  type AppKeys,
  type ReceivedKeys,
} from "./app-keys.ts";
import { requestKmsKeys } from "./kms-keys.ts";
import { requestLocalKeys, type AskHost, type ProviderVerifier } from "./local-keys.ts";

export interface ObtainKeysOptions {
  readonly inputs: BootInputs;
  readonly identity: Identity;
  readonly tee: Tee;
  readonly firstContacts: ReadonlyMap<string, Promise<TempCa>>;
  readonly verifyEvidence: EvidenceVerifier;
  /** Of a local key provider: the way to it, and who says that it is an enclave. */
  readonly askHost: AskHost;
  readonly verifyProvider: ProviderVerifier;
}

/**
 * Gets the app's keys, holds them to the launch and to the manifest's pin, measures where they come from and keeps
 * them for this boot.
 * @throws GuestError `keys-refused`, `keys-invalid`, `keys-unavailable`, `binding-mismatch`
 */
export async function obtainKeys(boot: BootContext, options: ObtainKeysOptions): Promise<AppKeys> {
  const { compose } = options.inputs.manifest;
  const { keys, osImageHash, attestation } = await receiveKeys(boot, options);
  boot.step("keys received");
  holdToLaunch(boot, options, keys, attestation);
  if (osImageHash.length > 0) await options.tee.emit(BOOT_EVENT.osImageHash, osImageHash);
  await options.tee.emit(BOOT_EVENT.keyProvider, keyProviderEvent(compose.keyProvider, providerId(keys.provider)));
  await writeSecret(join(boot.paths.hostShared, ".appkeys.json"), appKeysJson(keys));
  return keys;
}

function receiveKeys({ log, progress, now }: BootContext, options: ObtainKeysOptions): Promise<ReceivedKeys> {
  const { inputs, identity, tee } = options;
  const { manifest, systemConfig } = inputs;
  const { vmConfig } = systemConfig;
  const waiting = { pinnedProviderId: manifest.compose.keyProviderId, log, onWaiting: progress, now };
  switch (manifest.compose.keyProvider) {
    case "kms":
      return requestKmsKeys({
        ...waiting,
        urls: systemConfig.kmsUrls,
        appId: identity.appId,
        vmConfig,
        tee,
        firstContacts: options.firstContacts,
        verifyEvidence: options.verifyEvidence,
      });
    case "local":
      return requestLocalKeys({ ...waiting, vmConfig, tee, ask: options.askHost, verify: options.verifyProvider });
    case "none":
      return keysFromSeed(new Uint8Array(randomBytes(32)), { kind: "none" }, { tee, vmConfig, now: now() });
    case "tpm":
      throw new GuestError("unsupported", "key provider tpm is not supported by this guest image");
  }
}

/**
 * What the host bound at launch must be what runs, and a pin in the manifest must be met. Any
 * quote of this boot will do: MRCONFIGID never changes while the machine lives.
 */
function holdToLaunch(
  { log }: BootContext,
  { inputs, identity }: ObtainKeysOptions,
  keys: AppKeys,
  { platform }: Attestation,
): void {
  const { manifest, systemConfig } = inputs;
  const { compose } = manifest;
  if (keys.provider.kind === "none" && compose.keyProviderId.length > 0)
    throw new GuestError("keys-refused", "Unexpected key provider id: none, but the manifest pins one");
  const { mrConfigId } = tdReportOf(parseQuote(platform.quote));
  const binding = checkLaunchBinding(mrConfigId, {
    composeHash: manifest.composeHash,
    identity,
    keyProvider: compose.keyProvider,
    keyProviderId: providerId(keys.provider),
    gpuPolicyHash: compose.gpuPolicyHash,
    initScriptHashes: initScriptHashes(manifest),
    mrConfig: systemConfig.mrConfig,
  });
  log.info({ binding }, "launch configuration checked");
}
