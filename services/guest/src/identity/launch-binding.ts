import { equalBytes, isAllZero, toHex, type Hash32, type Hash48 } from "@dstack/bytes";
import { mrConfigIdV1, mrConfigIdV2, mrConfigIdV3, parseMrConfigV3, type KeyProviderKind } from "@dstack/attest";
import { GuestError } from "../errors.ts";
import type { Identity } from "./identity.ts";

export interface LaunchFacts {
  readonly composeHash: Hash32;
  readonly identity: Identity;
  readonly keyProvider: KeyProviderKind;
  readonly keyProviderId: Uint8Array;
  readonly gpuPolicyHash: Hash32;
  readonly initScriptHashes: readonly Hash32[];
  /** The host's version 3 document, as given. */
  readonly mrConfig: string | undefined;
}

/**
 * Holds MRCONFIGID, which the host set at launch and the hardware reports, against what this boot
 * really runs. All zero means that the host bound nothing: RTMR3 still says it all (#559).
 * @throws GuestError `binding-mismatch`
 */
export function checkLaunchBinding(mrConfigId: Hash48, facts: LaunchFacts): "bound" | "not-bound" {
  if (isAllZero(mrConfigId)) return "not-bound";
  switch (mrConfigId[0]) {
    case 1:
      requireEqual(mrConfigId, mrConfigIdV1(facts.composeHash), "mr_config_id");
      return "bound";
    case 2:
      requireEqual(
        mrConfigId,
        mrConfigIdV2(facts.composeHash, facts.identity.appId, facts.keyProvider, facts.keyProviderId),
        "mr_config_id",
      );
      return "bound";
    case 3:
      checkDocument(mrConfigId, facts);
      return "bound";
    default:
      throw new GuestError("binding-mismatch", `Invalid mr_config_id version ${mrConfigId[0]}`);
  }
}

function checkDocument(mrConfigId: Hash48, facts: LaunchFacts): void {
  if (facts.mrConfig === undefined)
    throw new GuestError(
      "binding-mismatch",
      "Invalid mr_config_id: it is of version 3 and the host gave no mr_config document",
    );
  requireEqual(mrConfigId, mrConfigIdV3(facts.mrConfig), "mr_config_id");
  const document = parseMrConfigV3(facts.mrConfig);
  requireEqual(document.composeHash, facts.composeHash, "mr_config compose_hash");
  if (document.keyProvider !== facts.keyProvider)
    throw mismatch("mr_config key_provider", document.keyProvider, facts.keyProvider);
  if (document.appId !== undefined) requireEqual(document.appId, facts.identity.appId, "mr_config app_id");
  if (document.gpuPolicyHash !== undefined)
    requireEqual(document.gpuPolicyHash, facts.gpuPolicyHash, "mr_config gpu_policy_hash");
  if (document.keyProviderId !== undefined)
    requireEqual(document.keyProviderId, facts.keyProviderId, "mr_config key_provider_id");
  if (document.instanceId !== undefined)
    requireEqual(document.instanceId, facts.identity.instanceId, "mr_config instance_id");
  const scripts = document.initScriptHashes;
  if (scripts !== undefined) {
    if (scripts.length !== facts.initScriptHashes.length)
      throw mismatch("mr_config init_script_hashes", `${scripts.length}`, `${facts.initScriptHashes.length}`);
    scripts.forEach((hash, i) =>
      requireEqual(hash, facts.initScriptHashes[i] ?? new Uint8Array(), "mr_config init_script_hashes"),
    );
  }
}

function requireEqual(got: Uint8Array, expected: Uint8Array, what: string): void {
  if (!equalBytes(got, expected)) throw mismatch(what, toHex(got), toHex(expected));
}

const mismatch = (what: string, launched: string, shared: string): GuestError =>
  new GuestError(
    "binding-mismatch",
    `Invalid ${what}: the VM was launched for something else than what the host share holds (${launched}, the share gives ${shared})`,
  );
