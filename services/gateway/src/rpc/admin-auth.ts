import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface AdminRequest {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly query: URLSearchParams;
}

export const ADMIN_REALM = 'Basic realm="dstack-gateway admin"';

/**
 * Whether the request carries the admin token: X-Admin-Token, then Bearer, then Basic (the token
 * as password, or as user without password), then `?token=` on GET. The first that decides wins.
 */
export function isAdmin(request: AdminRequest, token: string): boolean {
  const given = request.headers["x-admin-token"];
  if (typeof given === "string" && same(given, token)) return true;
  const authorization = request.headers.authorization ?? "";
  const [scheme = "", value = ""] = authorization.split(" ", 2);
  if (scheme.toLowerCase() === "bearer") return same(value, token);
  if (scheme.toLowerCase() === "basic") {
    const decoded = Buffer.from(value, "base64").toString("utf8");
    const colon = decoded.indexOf(":");
    if (colon >= 0) {
      const password = decoded.slice(colon + 1);
      return same(password, token) || (password === "" && same(decoded.slice(0, colon), token));
    }
  }
  const query = request.query.get("token");
  return request.method === "GET" && query !== null && same(query, token);
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
const same = (given: string, token: string): boolean => timingSafeEqual(digest(given), digest(token));
