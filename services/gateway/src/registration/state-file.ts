/** The registrations on disk: one JSON file with a version, written whole. */
import { z } from "zod";
import { readTextIfExists, writeJsonAtomic } from "@dstack/files";
import { formatIpv4, parseIpv4, parseWireGuardKey } from "@dstack/wireguard";
import { GatewayError } from "../errors.ts";
import type { Instance } from "./instance.ts";
import { portPolicy, portPolicySchema, portPolicyToJson } from "./port-policy.ts";

export interface StoredState {
  /** 16 bytes in hex that name this node for as long as its state lives. */
  readonly uuid: string;
  readonly instances: readonly Instance[];
}

const id = z.string().regex(/^[0-9a-z]{1,64}$/);
const stored = z.strictObject({
  version: z.literal(1),
  uuid: z.string().regex(/^[0-9a-f]{32}$/),
  instances: z.array(
    z.strictObject({
      instance_id: id,
      app_id: id,
      ip: z.string(),
      public_key: z.string(),
      compose_hash: z.string().regex(/^[0-9a-f]{0,128}$/),
      reg_time: z.int().min(0),
      port_policy: portPolicySchema.nullable(),
    }),
  ),
});

/**
 * The state, or undefined at the very first start.
 * @throws GatewayError `state-unreadable`: a damaged file is never taken for an empty one
 */
export async function readState(path: string): Promise<StoredState | undefined> {
  const text = await readTextIfExists(path).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  if (text === undefined) return undefined;
  try {
    const state = stored.parse(JSON.parse(text));
    return {
      uuid: state.uuid,
      instances: state.instances.map((row): Instance => ({
        instanceId: row.instance_id,
        appId: row.app_id,
        address: parseIpv4(row.ip),
        publicKey: parseWireGuardKey(row.public_key),
        composeHash: row.compose_hash,
        registeredAt: row.reg_time,
        portPolicy:
          row.port_policy === null ? undefined : portPolicy(row.port_policy.restrict_mode, row.port_policy.ports),
      })),
    };
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

export function writeState(path: string, state: StoredState): Promise<void> {
  const value: z.input<typeof stored> = {
    version: 1,
    uuid: state.uuid,
    instances: state.instances.map((instance) => ({
      instance_id: instance.instanceId,
      app_id: instance.appId,
      ip: formatIpv4(instance.address),
      public_key: instance.publicKey,
      compose_hash: instance.composeHash,
      reg_time: instance.registeredAt,
      port_policy: instance.portPolicy === undefined ? null : portPolicyToJson(instance.portPolicy),
    })),
  };
  return writeJsonAtomic(path, value);
}

function unreadable(path: string, cause: unknown): GatewayError {
  return new GatewayError(
    "state-unreadable",
    `${path} does not hold this gateway's registrations: ${(cause as Error).message.slice(0, 500)}. Restore it from a backup, or remove it to start with none (CVMs get new addresses then)`,
    { cause },
  );
}
