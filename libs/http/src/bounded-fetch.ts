import { exchange } from "./exchange.ts";
import { keptConnections } from "./kept-connections.ts";

export interface BoundedFetchOptions {
  readonly maxAnswerBytes: number;
  /** Of each request, beside the caller's own signal. */
  readonly timeoutMs: number;
  /** Whether a request with this body changes nothing, so that it may be sent twice. */
  readonly isRepeatable?: (body: string) => boolean;
}

/**
 * `exchange` in the shape of `fetch`, for libraries that want one: text goes out, the whole answer
 * comes back, connections to each server are kept.
 */
export function boundedFetch({ maxAnswerBytes, timeoutMs, isRepeatable }: BoundedFetchOptions): typeof fetch {
  const connections = new Map<string, ReturnType<typeof keptConnections>>();
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const kept = connections.get(url.origin) ?? keptConnections(url.origin);
    connections.set(url.origin, kept);
    const { body } = init ?? {};
    if (body !== undefined && body !== null && typeof body !== "string")
      throw new TypeError("bounded fetch: only text is sent");
    const answer = await exchange({
      url,
      method: (init?.method ?? "GET") as "GET" | "POST",
      headers: Object.fromEntries(new Headers(init?.headers)),
      ...(typeof body === "string" ? { body, repeatable: isRepeatable?.(body) } : {}),
      connections: kept,
      timeoutMs,
      maxAnswerBytes,
      signal: init?.signal ?? undefined,
    });
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers))
      for (const one of [value ?? []].flat()) headers.append(name, one);
    const hasBody = answer.status !== 204 && answer.status !== 304;
    return new Response(hasBody ? Buffer.from(answer.body) : null, { status: answer.status, headers });
  };
}
