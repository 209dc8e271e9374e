/** Intel's own provisioning certification service. */
export const INTEL_COLLATERAL_SERVER = "https://api.trustedservices.intel.com";

/** Servers of collateral that anybody may ask, in the order in which they are asked. */
export const PUBLIC_COLLATERAL_SERVERS = [INTEL_COLLATERAL_SERVER, "https://pccs.phala.network"] as const;
