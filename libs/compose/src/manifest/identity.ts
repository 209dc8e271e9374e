import { createHash } from "node:crypto";
import { appId, concatBytes, instanceId, type AppId, type Hash32, type InstanceId } from "@dstack/bytes";
import { ComposeError } from "../errors.ts";

/** The id of an app that was given none: the first 20 bytes of its compose hash. */
export const appIdFromComposeHash = (composeHash: Hash32): AppId => appId(composeHash.slice(0, 20));

/**
 * First 20 bytes of SHA-256(seed || app id). Both parts have fixed lengths, so the
 * concatenation is unambiguous.
 * @throws ComposeError `length-wrong` unless the seed has 20 bytes
 */
export function deriveInstanceId(seed: Uint8Array, app: AppId): InstanceId {
  if (seed.length !== 20 || app.length !== 20)
    throw new ComposeError(
      "length-wrong",
      `instance id: expected a seed and an app id of 20 bytes, got ${seed.length} and ${app.length}`,
    );
  return instanceId(new Uint8Array(createHash("sha256").update(concatBytes(seed, app)).digest().subarray(0, 20)));
}
