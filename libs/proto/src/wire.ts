/** Constants that stand on the wire between parts of different makers. */

/**
 * The release of the reference whose wire contracts are spoken here. Clients and servers of other
 * makers read it from version answers, headers and `--version`, and choose by it what they send.
 */
export const WIRE_VERSION = "0.6.0";

/** The release of this product, for people: what the changelog and `dstack --version` say. */
export const PRODUCT_VERSION = "0.6.0";

/** Where every guest's agent has its public page and the routes that a gateway or a verifier asks. */
export const AGENT_PORT = 8090;
