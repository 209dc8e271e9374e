/** HTTP as a client and at the door: one exchange, one administrator's login. */
export { adminCredentials } from "./admin-credentials.ts";
export type { AdminCredentialsOptions, LoginRequest } from "./admin-credentials.ts";
export { ADMIN_LOGINS, challengeOf } from "./admin-logins.ts";
export type { LoginRules, LoginWay } from "./admin-logins.ts";
export { HttpError } from "./errors.ts";
export type { HttpErrorCode } from "./errors.ts";
export { escapeHtml } from "./escape-html.ts";
export { CONNECT_TIMEOUT_MS } from "./dial.ts";
export { exchange } from "./exchange.ts";
export type { HttpAnswer, HttpRequest } from "./exchange.ts";
export { exchangeFollowing } from "./exchange-following.ts";
export { fetchFollowing } from "./fetch-following.ts";
export type { FetchFollowingOptions } from "./fetch-following.ts";
export { keptConnections } from "./kept-connections.ts";
export { streamedFetch } from "./streamed-fetch.ts";
export { tlsSettings } from "./tls-settings.ts";
export { transportFailure } from "./transport-failure.ts";
export { isSameSecret } from "./same-secret.ts";
