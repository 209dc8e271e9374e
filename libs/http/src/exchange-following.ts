import { exchange, type HttpAnswer, type HttpRequest } from "./exchange.ts";
import { redirectTarget } from "./redirect-target.ts";

/**
 * `exchange` for questions that may be answered elsewhere: GET and HEAD, redirects by the rule of
 * `redirectTarget` within the one deadline. Credentials stay with the server that they were given for.
 * @throws HttpError, `redirect-refused` too
 */
export async function exchangeFollowing(
  request: Omit<HttpRequest, "body" | "method" | "socketPath" | "dial"> & { readonly method?: "GET" | "HEAD" },
): Promise<HttpAnswer> {
  const end = performance.now() + request.timeoutMs;
  let url = new URL(request.url);
  let headers = request.headers;
  for (let redirects = 0; ; redirects++) {
    const answer = await exchange({ ...request, url, headers, timeoutMs: Math.max(1, end - performance.now()) });
    const { location } = answer.headers;
    const next = redirectTarget({ status: answer.status, location, url, followed: redirects });
    if (next === undefined) return answer;
    if (next.origin !== url.origin) headers = withoutCredentials(headers);
    url = next;
  }
}

const withoutCredentials = (headers: HttpRequest["headers"]): HttpRequest["headers"] =>
  Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !/^(?:authorization|cookie)$/i.test(name)));
