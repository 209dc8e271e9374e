import { redirectTarget } from "./redirect-target.ts";

export interface FetchFollowingOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the request and the reading of its answer. */
  readonly signal: AbortSignal;
}

/**
 * A GET whose answer is read as it comes, or through a `fetch` of the caller's; redirects by the
 * rule of `redirectTarget`. No header may hold a credential: all go wherever a redirect leads.
 * @throws HttpError `redirect-refused`, and what `fetch` throws
 */
export async function fetchFollowing(
  start: string,
  { fetch, headers, signal }: FetchFollowingOptions,
): Promise<Response> {
  let url = new URL(start);
  for (let followed = 0; ; followed++) {
    const response = await fetch(url.href, {
      signal,
      redirect: "manual",
      ...(headers === undefined ? {} : { headers }),
    });
    const location = response.headers.get("location") ?? undefined;
    let next: URL | undefined;
    try {
      next = redirectTarget({ status: response.status, location, url, followed });
    } catch (refusal) {
      await response.body?.cancel();
      throw refusal;
    }
    if (next === undefined) return response;
    await response.body?.cancel();
    url = next;
  }
}
