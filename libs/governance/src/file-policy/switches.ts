import { GovernanceError } from "../errors.ts";

/** How lenient the reading of a configuration file is. All off unless the environment says `1`. */
export interface Switches {
  /** AUTH_STRICT_HEX: an entry of a wrong length makes the file invalid instead of a warning. */
  readonly strictHex: boolean;
  /** AUTH_STRICT_KMS: without `kms.mrAggregated` no KMS may boot, instead of any. */
  readonly strictKms: boolean;
  /** AUTH_COMPAT_EMPTY_DEVICES: `devices: []` admits every device, as the reference reads it. */
  readonly compatEmptyDevices: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws GovernanceError `environment-invalid` for a value other than 0, 1 or none */
export function readSwitches(env: Environment): Switches {
  return {
    strictHex: flag(env, "AUTH_STRICT_HEX"),
    strictKms: flag(env, "AUTH_STRICT_KMS"),
    compatEmptyDevices: flag(env, "AUTH_COMPAT_EMPTY_DEVICES"),
  };
}

function flag(env: Environment, name: string): boolean {
  const value = env[name] ?? "";
  if (value !== "" && value !== "0" && value !== "1")
    throw new GovernanceError("environment-invalid", `${name}: expected 0 or 1, got "${value}"`);
  return value === "1";
}
