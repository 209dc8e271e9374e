/** State file of 0.5.5 (`core.state_path`), imported once when there is no state yet. */
import { z } from "zod";
import { readTextIfExists } from "@dstack/files";
import { parseIpv4, parseWireGuardKey } from "@dstack/wireguard";
import { GatewayError } from "../errors.ts";
import type { Instance } from "./instance.ts";

const legacy = z.object({ instances: z.record(z.string(), z.unknown()).default({}) });
const row = z.object({
  id: z.string().regex(/^[0-9a-z]{1,64}$/),
  app_id: z.string().regex(/^[0-9a-z]{1,64}$/),
  ip: z.string(),
  public_key: z.string(),
  reg_time: z.object({ secs_since_epoch: z.int().min(0) }),
});

export interface LegacyState {
  readonly instances: readonly Instance[];
  /** Keys of entries that hold no usable instance. */
  readonly skipped: readonly string[];
}

/**
 * @returns undefined when there is no such file
 * @throws GatewayError `state-unreadable` when the file as a whole is no such state
 */
export async function readLegacyState(path: string, nowSeconds: number): Promise<LegacyState | undefined> {
  const text = await readTextIfExists(path);
  if (text === undefined) return undefined;
  let rows: Record<string, unknown>;
  try {
    rows = legacy.parse(JSON.parse(text)).instances;
  } catch (cause) {
    throw new GatewayError(
      "state-unreadable",
      `core.state_path ${path} is not a gateway state file: ${(cause as Error).message.slice(0, 300)}. Move it away to start without it`,
      { cause },
    );
  }
  const instances: Instance[] = [];
  const skipped: string[] = [];
  for (const [key, value] of Object.entries(rows)) {
    const instance = readRow(value, nowSeconds);
    if (instance === undefined || instance.instanceId !== key) skipped.push(key);
    else instances.push(instance);
  }
  // Of two with one address or key the older one stays, whatever the order in the file.
  instances.sort((a, b) => a.registeredAt - b.registeredAt || (a.instanceId < b.instanceId ? -1 : 1));
  return { instances, skipped };
}

const DAY_SECONDS = 86_400;

function readRow(value: unknown, nowSeconds: number): Instance | undefined {
  try {
    const parsed = row.parse(value);
    // A record from the future would win every comparison of age.
    if (parsed.reg_time.secs_since_epoch > nowSeconds + DAY_SECONDS) return undefined;
    return {
      instanceId: parsed.id,
      appId: parsed.app_id,
      address: parseIpv4(parsed.ip),
      publicKey: parseWireGuardKey(parsed.public_key),
      composeHash: "",
      registeredAt: parsed.reg_time.secs_since_epoch,
      portPolicy: undefined,
    };
  } catch {
    return undefined; // The caller names the entry.
  }
}
