/** Constants that stand on the wire between parts of different makers. */

/**
 * The release of the reference whose wire contracts are spoken here. Clients and servers of other
 * makers read it from version answers, headers and `--version`, and choose by it what they send.
 */
export const WIRE_VERSION = "0.6.0";

/** The release of this product, for people: what the changelog and `dstack --version` say. */
export const PRODUCT_VERSION = "0.6.0";

/** `git archive` puts the commit here (.gitattributes); a checkout, which may hold more than its commit, says none. */
const ARCHIVED = "$Format:%H$";

/** `git:` and 20 digits of the commit that a packed release was made of; undefined in a checkout. */
export const REVISION: string | undefined = revisionOf(ARCHIVED);

/** What `--version` and the header X-App-Version say: `v0.6.0`, or `v0.6.0 (git:...)` in a packed release. */
export const VERSION_TEXT: string = `v${WIRE_VERSION}${REVISION === undefined ? "" : ` (${REVISION})`}`;

/** `archived` is a whole commit, or what stands in its place. */
export function revisionOf(archived: string): string | undefined {
  return /^[0-9a-f]{40}$/.test(archived) ? `git:${archived.slice(0, 20)}` : undefined;
}

/** Where every guest's agent has its public page and the routes that a gateway or a verifier asks. */
export const AGENT_PORT = 8090;
