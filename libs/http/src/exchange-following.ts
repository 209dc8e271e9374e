import { HttpError } from "./errors.ts";
import { exchange, type HttpAnswer, type HttpRequest } from "./exchange.ts";

const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * `exchange` for questions that may be answered elsewhere: GET and HEAD, at most three redirects
 * within the one deadline. From https to https only: whoever can answer for a plain server could
 * send this host anywhere. Credentials stay with the server that they were given for.
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
    if (!REDIRECTS.has(answer.status) || location === undefined) return answer;
    const next = URL.parse(location, url);
    if (url.protocol !== "https:" || next?.protocol !== "https:")
      throw new HttpError("redirect-refused", `${url.host} redirects; that is followed from https to https only`);
    if (redirects === MAX_REDIRECTS)
      throw new HttpError("redirect-refused", `${url.host} redirects more than ${MAX_REDIRECTS} times`);
    if (next.origin !== url.origin) headers = withoutCredentials(headers);
    url = next;
  }
}

const withoutCredentials = (headers: HttpRequest["headers"]): HttpRequest["headers"] =>
  Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !/^(?:authorization|cookie)$/i.test(name)));
