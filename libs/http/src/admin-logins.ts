/** A way to show a token. What is sent first is not what is looked at first: that is `order`. */
export type LoginWay =
  /** `X-Admin-Token: T`. A wrong one decides nothing. */
  | "header"
  /** `Authorization: Bearer T`. Decides, right or wrong. */
  | "bearer"
  /** `Authorization: Basic`, the token in either half or a user with a password. Decides once it decodes. */
  | "basic"
  /** `?token=T` of a GET. A wrong one decides nothing. */
  | "query";

/** What one listener's wire contract asks for. */
export interface LoginRules {
  /** Of the challenge that goes with a 401. */
  readonly realm: string;
  /** The ways that count, in the order in which they are looked at; the first that decides wins. */
  readonly order: readonly LoginWay[];
  /** Whether `bearer` is `Bearer`. */
  readonly schemeCase: "exact" | "any";
}

/**
 * The five listeners. All else is the same: blanks around a token do not count, Basic is standard
 * base64 of UTF-8, and without a colon it is a user with an empty password.
 */
export const ADMIN_LOGINS = {
  // Contract of the management API, 0.6.0: "prefix case-sensitive"; a token in the address opens the console.
  vmm: { realm: "dstack-vmm API", order: ["header", "bearer", "basic", "query"], schemeCase: "exact" },
  // Contract of the gateway's admin API: the order of the VMM; schemes as RFC 9110, section 11.1, has them.
  gateway: { realm: "dstack-gateway admin", order: ["header", "bearer", "basic", "query"], schemeCase: "any" },
  // Contract of the KMS: the header first, as released servers look at it; "if Bearer is present and wrong, no other
  // method is tried"; "query tokens are not accepted", since they end up in logs.
  kms: { realm: "dstack-kms admin", order: ["header", "bearer", "basic"], schemeCase: "any" },
  // Ours: the token that the KMS prints at its set-up, shown by the page and by programs alike.
  setUp: { realm: "dstack-kms set-up", order: ["bearer"], schemeCase: "any" },
  // Ours: what an authorization webhook may want of a KMS; `core.auth_api.webhook.bearer_token` is sent that way.
  webhook: { realm: "dstack authorization webhook", order: ["bearer"], schemeCase: "any" },
} as const satisfies Readonly<Record<string, LoginRules>>;

/** What goes with a 401: a browser asks for a password where one counts. */
export const challengeOf = ({ realm, order }: LoginRules): string =>
  `${order.includes("basic") ? "Basic" : "Bearer"} realm="${realm}"`;
