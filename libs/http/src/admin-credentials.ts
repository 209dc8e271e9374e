import type { IncomingHttpHeaders } from "node:http";
import type { LoginRules, LoginWay } from "./admin-logins.ts";
import { isSameSecret } from "./same-secret.ts";

export interface LoginRequest {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly query: URLSearchParams;
  /** Where it comes from; for `isUser`. */
  readonly remoteAddress?: string | undefined;
}

export interface AdminCredentialsOptions {
  readonly rules: LoginRules;
  /** Empty ones never count: with no other, nobody gets in by token. */
  readonly tokens: readonly string[];
  /** Whether this is the password of one of the users, where there are users. Checks are costly: `from` is whose share one counts in. */
  readonly isUser?: (user: string, password: string, from: string | undefined) => Promise<boolean>;
}

type Verdict = "allow" | "deny" | "next";

/** Who may administer: the ways of the rules, in their order; where none decides, nobody. */
export function adminCredentials(options: AdminCredentialsOptions): (request: LoginRequest) => Promise<boolean> {
  const { order } = options.rules;
  const known = options.tokens.filter((token) => token !== "");
  // All tokens are compared, whichever matches.
  const isToken = (given: string): boolean =>
    known.reduce((found, token) => isSameSecret(token, given) || found, false);
  return async (request) => {
    for (const way of order) {
      const verdict = await WAYS[way](request, isToken, options);
      if (verdict !== "next") return verdict === "allow";
    }
    return false;
  };
}

type Way = (
  request: LoginRequest,
  isToken: (given: string) => boolean,
  options: AdminCredentialsOptions,
) => Verdict | Promise<Verdict>;

const WAYS: Readonly<Record<LoginWay, Way>> = {
  header: ({ headers }, isToken) => {
    const given = headers["x-admin-token"];
    return typeof given === "string" && isToken(given) ? "allow" : "next";
  },
  bearer: ({ headers }, isToken, { rules }) => {
    const given = afterScheme("Bearer", headers.authorization, rules);
    if (given === undefined) return "next";
    return isToken(given) ? "allow" : "deny";
  },
  basic: async ({ headers, remoteAddress }, isToken, { rules, isUser }) => {
    const credentials = decodeBasic(afterScheme("Basic", headers.authorization, rules) ?? "");
    if (credentials === undefined) return "next";
    const { user, password } = credentials;
    const isKnown = isToken(password) || (password === "" && isToken(user));
    return isKnown || (await isUser?.(user, password, remoteAddress)) === true ? "allow" : "deny";
  },
  query: ({ method, query }, isToken) => {
    const given = method === "GET" ? query.get("token") : null;
    return given !== null && isToken(given) ? "allow" : "next";
  },
};

function afterScheme(scheme: string, header: string | undefined, rules: LoginRules): string | undefined {
  const [, given = "", rest = ""] = /^(\S+)\s+(.*)$/s.exec(header ?? "") ?? [];
  const isScheme = rules.schemeCase === "exact" ? given === scheme : given.toLowerCase() === scheme.toLowerCase();
  return isScheme ? rest.trim() : undefined;
}

/** Undefined where it is no base64 of text, or nothing: as if it had not been sent. */
function decodeBasic(text: string): { readonly user: string; readonly password: string } | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) || text === "") return undefined;
  let decoded: string;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "base64"));
  } catch {
    return undefined;
  }
  const colon = decoded.indexOf(":");
  return colon === -1
    ? { user: decoded, password: "" }
    : { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
