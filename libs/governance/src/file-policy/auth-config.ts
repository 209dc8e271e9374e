import { parseJson } from "@dstack/bytes";
import { z } from "zod";
import { GovernanceError } from "../errors.ts";
import type { Switches } from "./switches.ts";

/** Who may boot, with every entry in the form that comparisons use. */
export interface AuthConfig {
  readonly gatewayAppId: string;
  readonly kmsContractAddr: string;
  readonly chainId: number;
  readonly appImplementation: string;
  readonly osImages: ReadonlySet<string>;
  readonly allowedTcbStatuses: ReadonlySet<string>;
  readonly allowedAdvisoryIds: ReadonlySet<string>;
  readonly kms: { readonly mrAggregated: ReadonlySet<string> | "any"; readonly devices: DeviceRule };
  readonly apps: ReadonlyMap<string, AppRule>;
}

export interface AppRule {
  readonly composeHashes: ReadonlySet<string>;
  readonly devices: DeviceRule;
}

export type DeviceRule = ReadonlySet<string> | "any";

/** A configuration, and what its author should know about it. */
export interface ReadConfig {
  readonly config: AuthConfig;
  readonly warnings: readonly string[];
}

const NO_ADDRESS = `0x${"0".repeat(40)}`;
const texts = z.array(z.string());
const place = { devices: texts.optional(), allowAnyDevice: z.boolean().default(false) };
const schema = z.object({
  gatewayAppId: z.string().default(""),
  kmsContractAddr: z.string().default(NO_ADDRESS),
  chainId: z.number().default(0),
  appImplementation: z.string().default(NO_ADDRESS),
  osImages: texts.default([]),
  allowedTcbStatuses: texts.default(["UpToDate"]),
  allowedAdvisoryIds: texts.default([]),
  kms: z.object({ mrAggregated: texts.optional(), ...place }).default({ allowAnyDevice: false }),
  apps: z.record(z.string(), z.object({ composeHashes: texts.default([]), ...place })).default({}),
});

/** What holds while there is no usable file: nobody may boot. */
export const DENY_ALL: AuthConfig = {
  gatewayAppId: "",
  kmsContractAddr: NO_ADDRESS,
  chainId: 0,
  appImplementation: NO_ADDRESS,
  osImages: new Set(),
  allowedTcbStatuses: new Set(["UpToDate"]),
  allowedAdvisoryIds: new Set(),
  kms: { mrAggregated: new Set(), devices: new Set() },
  apps: new Map(),
};

/**
 * Hex as it is compared: lower case with `0x`. Never padded and never cut, so a short value can
 * only equal a short entry (DS #1268).
 */
export function comparable(text: string): string {
  const lower = text.toLowerCase();
  return lower.startsWith("0x") ? lower : `0x${lower}`;
}

/** @throws GovernanceError `config-syntax`, `config-invalid` naming the key */
export function parseAuthConfig(text: string, switches: Switches): ReadConfig {
  let json: unknown;
  try {
    json = parseJson(text, "file");
  } catch (cause) {
    throw new GovernanceError(
      "config-syntax",
      `not valid JSON: ${cause instanceof Error ? cause.message : "unreadable"}`,
      { cause },
    );
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new GovernanceError("config-invalid", z.prettifyError(parsed.error));
  return compile(parsed.data, switches);
}

function compile(raw: z.output<typeof schema>, switches: Switches): ReadConfig {
  const warnings: string[] = [];
  const hexSet = (entries: readonly string[], sizes: readonly number[], path: string): ReadonlySet<string> => {
    const wrong = entries.filter((entry) => !isHex(entry, sizes));
    if (wrong.length > 0)
      warnings.push(
        `${path}: ${wrong.length} of ${entries.length} entries are not ${sizes.join(" or ")} bytes of hex, first "${wrong[0]!.slice(0, 80)}"; they match nothing that a KMS sends`,
      );
    return new Set(entries.map(comparable));
  };
  const deviceRule = (
    owner: { readonly devices?: readonly string[] | undefined; readonly allowAnyDevice: boolean },
    path: string,
  ): DeviceRule => {
    if (owner.allowAnyDevice) return "any";
    if (owner.devices === undefined) {
      warnings.push(`${path}.devices is absent and admits every device; list devices or say "allowAnyDevice": true`);
      return "any";
    }
    if (owner.devices.length === 0 && switches.compatEmptyDevices) return "any";
    if (owner.devices.length === 0)
      warnings.push(
        `${path}.devices is empty and admits no device; say "allowAnyDevice": true for any (AUTH_COMPAT_EMPTY_DEVICES=1 reads it as any)`,
      );
    return hexSet(owner.devices, [32, 64], `${path}.devices`);
  };
  const { mrAggregated } = raw.kms;
  if (mrAggregated === undefined && !switches.strictKms)
    warnings.push(
      "kms.mrAggregated is absent and admits every KMS; list measurements (AUTH_STRICT_KMS=1 reads absence as none)",
    );
  const apps = new Map<string, AppRule>();
  for (const [id, app] of Object.entries(raw.apps)) {
    const key = comparable(id);
    if (!isHex(id, [20])) warnings.push(`apps.${id.slice(0, 80)}: the app id is not 20 bytes of hex`);
    if (apps.has(key)) warnings.push(`apps.${id}: listed twice; the first entry counts`);
    else
      apps.set(key, {
        composeHashes: hexSet(app.composeHashes, [32], `apps.${id}.composeHashes`),
        devices: deviceRule(app, `apps.${id}`),
      });
  }
  const config: AuthConfig = {
    gatewayAppId: raw.gatewayAppId,
    kmsContractAddr: raw.kmsContractAddr,
    chainId: raw.chainId,
    appImplementation: raw.appImplementation,
    osImages: hexSet(raw.osImages, [32], "osImages"),
    allowedTcbStatuses: new Set(raw.allowedTcbStatuses),
    allowedAdvisoryIds: new Set(raw.allowedAdvisoryIds),
    kms: {
      mrAggregated:
        mrAggregated === undefined
          ? switches.strictKms
            ? new Set()
            : "any"
          : hexSet(mrAggregated, [32], "kms.mrAggregated"),
      devices: deviceRule(raw.kms, "kms"),
    },
    apps,
  };
  const badHex = warnings.find((warning) => warning.includes("bytes of hex"));
  if (switches.strictHex && badHex !== undefined) throw new GovernanceError("config-invalid", badHex);
  return { config, warnings };
}

function isHex(text: string, sizes: readonly number[]): boolean {
  const digits = comparable(text).slice(2);
  return /^[0-9a-f]*$/.test(digits) && sizes.some((size) => digits.length === 2 * size);
}
