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

/** All of them, from best to worst. */
export const TCB_STATUSES: readonly TcbStatus[] = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
];

/** @throws AttestError `collateral-malformed` for a name that is not known */
export function tcbStatus(name: string): TcbStatus {
  if (!isTcbStatus(name))
    throw new AttestError(
      "collateral-malformed",
      `TCB status "${name.slice(0, 40)}", expected one of ${TCB_STATUSES.join(", ")}`,
    );
  return name;
}

/** "intel": as Intel's verification library does. "reference": as the reference's, which takes the worse status. */
export type TcbRules = "intel" | "reference";

export const isOutOfDate = (status: TcbStatus): boolean =>
  status === "OutOfDate" || status === "OutOfDateConfigurationNeeded";

/** The higher, the worse. */
export const severityOf = (status: TcbStatus): number => TCB_STATUSES.indexOf(status);

export const isTcbStatus = (name: string): name is TcbStatus => TCB_STATUSES.some((known) => known === name);

/**
 * Status of a platform one of whose parts (TDX module, quoting enclave) has a status of its own:
 * a revoked part revokes, an outdated part makes the whole outdated and keeps the need to configure.
 */
export function mergeTcbStatus(platform: TcbStatus, part: TcbStatus, rules: TcbRules = "intel"): TcbStatus {
  if (platform === "Revoked" || part === "Revoked") return "Revoked";
  // Intel gives parts no status but UpToDate and OutOfDate; of any other the worse of both is the safe reading.
  if (rules === "reference" || !isOutOfDate(part) || isOutOfDate(platform))
    return TCB_STATUSES.indexOf(part) > TCB_STATUSES.indexOf(platform) ? part : platform;
  return platform === "UpToDate" || platform === "SWHardeningNeeded" ? part : "OutOfDateConfigurationNeeded";
}
