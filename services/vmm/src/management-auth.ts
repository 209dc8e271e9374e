import { createHash, timingSafeEqual } from "node:crypto";

export interface AuthRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly query: URLSearchParams;
}

export type Authenticator = (request: AuthRequest) => boolean;

/** The reply's header where `Authenticator` says no. */
export const CHALLENGE = 'Basic realm="dstack-vmm API"';

/**
 * Who may use the management API, decided in this order: admin header, bearer (final), basic
 * (final once it decodes), and for GET the `token` of the query. Empty tokens never count, so
 * being on without a usable one denies everybody.
 */
export function managementAuth(config: { readonly enabled: boolean; readonly tokens: readonly string[] }): Authenticator {
  if (!config.enabled) return () => true;
  const known = config.tokens.filter((token) => token !== "").map(digest);
  // All tokens are compared, whichever matches.
  const isToken = (given: string): boolean => known.reduce((found, token) => timingSafeEqual(token, digest(given)) || found, false);
  return ({ method, headers, query }) => {
    const admin = single(headers["x-admin-token"]);
    if (admin !== undefined && isToken(admin)) return true;
    const authorization = single(headers["authorization"]);
    if (authorization?.startsWith("Bearer ") === true) return isToken(authorization.slice("Bearer ".length).trim());
    if (authorization?.startsWith("Basic ") === true) {
      const credentials = decodeBasic(authorization.slice("Basic ".length).trim());
      if (credentials !== undefined) return isToken(credentials.password) || (credentials.password === "" && isToken(credentials.user));
    }
    const token = method === "GET" ? query.get("token") : null;
    return token !== null && isToken(token);
  };
}

const digest = (text: string): Uint8Array => createHash("sha256").update(text).digest();

const single = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);

function decodeBasic(text: string): { user: string; password: string } | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) return undefined;
  let decoded: string;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "base64"));
  } catch {
    return undefined; // Not text: as if nothing had been sent.
  }
  const colon = decoded.indexOf(":");
  return colon === -1 ? { user: decoded, password: "" } : { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
