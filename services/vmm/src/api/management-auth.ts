import { createHmac } from "node:crypto";
import { ADMIN_LOGINS, adminCredentials, isSameSecret, type LoginRequest } from "@dstack/http";

export type Authenticator = (request: LoginRequest) => Promise<boolean>;

/** Cookie of a console session: what a browser sends after it was opened with `/?token=...` once. */
export const SESSION_COOKIE = "dstack_vmm_session";

/**
 * The cookie's value for a token. Other programs on the same host name see the cookie too; the
 * token cannot be read from it, and it ends when the token is changed.
 */
export const sessionOf = (token: string): string =>
  createHmac("sha256", token).update("dstack-vmm console session v1").digest("hex");

/** The ways of `ADMIN_LOGINS.vmm`, and last a console session. Empty tokens never count. */
export function managementAuth(config: {
  readonly enabled: boolean;
  readonly tokens: readonly string[];
}): Authenticator {
  if (!config.enabled) return () => Promise.resolve(true);
  const tokens = config.tokens.filter((token) => token !== "");
  const isAdmin = adminCredentials({ rules: ADMIN_LOGINS.vmm, tokens });
  const sessions = tokens.map(sessionOf);
  return async (request) => {
    if (await isAdmin(request)) return true;
    const session = cookie(request.headers.cookie ?? "", SESSION_COOKIE);
    return session !== undefined && sessions.reduce((found, known) => isSameSecret(known, session) || found, false);
  };
}

function cookie(header: string, name: string): string | undefined {
  const pair = header.split(";").find((part) => part.trimStart().startsWith(`${name}=`));
  return pair?.trim().slice(name.length + 1);
}
