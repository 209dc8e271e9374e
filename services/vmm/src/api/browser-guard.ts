/**
 * Keeps other web sites out. A browser on the operator's desk reaches this API, and with HTTP
 * authentication it even adds the credentials by itself, so what a browser sends on behalf of
 * another site must be told apart.
 */
import { isIP } from "node:net";
import { hostname } from "node:os";

export interface BrowserRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Why the request is refused; undefined lets it pass.
 * @param checkHost whether the Host header must be a name of ours: needed where nothing else
 *   authenticates, since a browser gives no credentials of ours to a foreign name
 */
export function refuseForeignSite({ method, headers }: BrowserRequest, checkHost: boolean): string | undefined {
  const host = text(headers["host"]);
  if (checkHost && host !== undefined && !isOwnName(host))
    return `host ${JSON.stringify(host.slice(0, 100))} is not this node: use its IP address, localhost or its host name, or turn on auth`;
  const site = text(headers["sec-fetch-site"]);
  const isNavigation = method === "GET" && text(headers["sec-fetch-mode"]) === "navigate";
  if (site !== undefined && site !== "same-origin" && site !== "none" && !isNavigation)
    return "requests from another web site are refused";
  const origin = text(headers["origin"]);
  if (origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host))
    return "requests from another web site are refused";
  return undefined;
}

/** A foreign name that resolves to our address (DNS rebinding) would make its site look like ours. */
function isOwnName(host: string): boolean {
  if (!URL.canParse(`http://${host}`)) return false;
  const name = new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, "").toLowerCase();
  return isIP(name) !== 0 || name === "localhost" || name.endsWith(".localhost") || name === hostname().toLowerCase();
}

const text = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);
