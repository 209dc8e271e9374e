import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface AuthRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly query: URLSearchParams;
}

export type Authenticator = (request: AuthRequest) => boolean;

/** The reply's header where `Authenticator` says no. */
export const CHALLENGE = 'Basic realm="dstack-vmm API"';

/** Cookie of a console session: what a browser sends after it was opened with `/?token=...` once. */
export const SESSION_COOKIE = "dstack_vmm_session";

/**
 * The cookie's value for a token. Other programs on the same host name see the cookie too; the
 * token cannot be read from it, and it ends when the token is changed.
 */
export const sessionOf = (token: string): string =>
  createHmac("sha256", token).update("dstack-vmm console session v1").digest("hex");

/**
 * Who may use the management API, decided in this order: admin header, bearer (final), basic
 * (final once it decodes), for GET the `token` of the query, and last a console session. Empty tokens never count, so
 * being on without a usable one denies everybody.
 */
export function managementAuth(config: {
  readonly enabled: boolean;
  readonly tokens: readonly string[];
}): Authenticator {
  if (!config.enabled) return () => true;
  const known = config.tokens.filter((token) => token !== "").map(digest);
  const sessions = config.tokens.filter((token) => token !== "").map((token) => digest(sessionOf(token)));
  // All tokens are compared, whichever matches.
  const isToken = (given: string): boolean =>
    known.reduce((found, token) => timingSafeEqual(token, digest(given)) || found, false);
  return ({ method, headers, query }) => {
    const admin = single(headers["x-admin-token"]);
    if (admin !== undefined && isToken(admin)) return true;
    const authorization = single(headers["authorization"]);
    if (authorization?.startsWith("Bearer ") === true) return isToken(authorization.slice("Bearer ".length).trim());
    if (authorization?.startsWith("Basic ") === true) {
      const credentials = decodeBasic(authorization.slice("Basic ".length).trim());
      if (credentials !== undefined)
        return isToken(credentials.password) || (credentials.password === "" && isToken(credentials.user));
    }
    const token = method === "GET" ? query.get("token") : null;
    if (token !== null && isToken(token)) return true;
    const session = cookie(single(headers["cookie"]) ?? "", SESSION_COOKIE);
    return (
      session !== undefined &&
      sessions.reduce((found, known) => timingSafeEqual(known, digest(session)) || found, false)
    );
  };
}

const digest = (text: string): Uint8Array => createHash("sha256").update(text).digest();

const single = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);

function cookie(header: string, name: string): string | undefined {
  const pair = header.split(";").find((part) => part.trimStart().startsWith(`${name}=`));
  return pair?.trim().slice(name.length + 1);
}

function decodeBasic(text: string): { user: string; password: string } | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) return undefined;
  let decoded: string;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "base64"));
  } catch {
    return undefined; // Not text: as if nothing had been sent.
  }
  const colon = decoded.indexOf(":");
  return colon === -1
    ? { user: decoded, password: "" }
    : { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
