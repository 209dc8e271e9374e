import { TeeError } from "./errors.ts";

/** Where the kernel and the guest keep what attestation is made of. */
export interface TeePaths {
  /** configfs-tsm report folder; made where it is missing. */
  readonly report: string;
  /** Folder of `rtmr0:sha384` to `rtmr3:sha384`. */
  readonly measurements: string;
  /** Boot event log of the firmware. */
  readonly ccel: string;
  /** The guest's own log of what it extended into RTMR3. */
  readonly runtimeLog: string;
}

export const PRODUCTION_PATHS: TeePaths = {
  report: "/sys/kernel/config/tsm/report/com.intel.dcap",
  measurements: "/sys/devices/virtual/misc/tdx_guest/measurements",
  ccel: "/sys/firmware/acpi/tables/data/CCEL",
  runtimeLog: "/run/log/dstack/runtime_events.log",
};

/**
 * The paths of this guest. The environment may move them only in development images (#562): in a
 * production image whoever sets a variable could otherwise feed the guest a made-up quote.
 * @throws TeeError `path-invalid` for a relative path
 */
export function teePaths(env: Readonly<Record<string, string | undefined>>, isDev: boolean): TeePaths {
  if (!isDev) return PRODUCTION_PATHS;
  const moved = (name: string, path: string): string => {
    const value = env[name];
    if (value === undefined || value === "") return path;
    if (!value.startsWith("/")) throw new TeeError("path-invalid", `${name}: expected an absolute path`);
    return value;
  };
  return {
    ...PRODUCTION_PATHS,
    report: moved("DCAP_TDX_QUOTE_CONFIGFS_PATH", PRODUCTION_PATHS.report),
    measurements: moved("DCAP_TDX_RTMR_SYSFS_PATH", PRODUCTION_PATHS.measurements),
    ccel: moved("DSTACK_CCEL_FILE", PRODUCTION_PATHS.ccel),
  };
}
