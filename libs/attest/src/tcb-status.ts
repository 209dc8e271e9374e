import { AttestError } from "./errors.ts";

/** How current a platform is, as Intel names it. */
export type TcbStatus =
  | "UpToDate"
  | "SWHardeningNeeded"
  | "ConfigurationNeeded"
  | "ConfigurationAndSWHardeningNeeded"
  | "OutOfDate"
  | "OutOfDateConfigurationNeeded"
  | "Revoked";

const STATUSES: readonly TcbStatus[] = [
  "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
  "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked",
];

/** @throws AttestError `collateral-malformed` for a name that is not known */
export function tcbStatus(name: string): TcbStatus {
  const status = STATUSES.find((known) => known === name);
  if (status === undefined) throw new AttestError("collateral-malformed", `TCB status "${name.slice(0, 40)}" is not known`);
  return status;
}

/**
 * Status of a platform one of whose parts (TDX module, quoting enclave) has a status of its own:
 * a revoked part revokes, an outdated part makes the whole outdated and keeps the need to configure.
 */
export function mergeTcbStatus(platform: TcbStatus, part: TcbStatus): TcbStatus {
  if (platform === "Revoked" || part === "Revoked") return "Revoked";
  if (part !== "OutOfDate" && part !== "OutOfDateConfigurationNeeded") {
    // Intel gives parts no such status today; the worse of both is the safe reading.
    return STATUSES.indexOf(part) > STATUSES.indexOf(platform) ? part : platform;
  }
  switch (platform) {
    case "UpToDate":
    case "SWHardeningNeeded":
      return part;
    case "ConfigurationNeeded":
    case "ConfigurationAndSWHardeningNeeded":
      return "OutOfDateConfigurationNeeded";
    case "OutOfDate":
    case "OutOfDateConfigurationNeeded":
      return platform;
  }
}
