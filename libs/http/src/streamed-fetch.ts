import { Readable } from "node:stream";
import { dial } from "./dial.ts";
import { HttpError } from "./errors.ts";
import { transportFailure } from "./transport-failure.ts";

/**
 * A GET in the shape of `fetch` whose answer is read as it comes, for what is too large, or too
 * endless, for `exchange`: connected, secured and failing as that is. Redirects are not followed;
 * the caller bounds what it reads, and its signal is the deadline.
 */
export const streamedFetch: typeof globalThis.fetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input);
  const signal = init?.signal ?? undefined;
  const outgoing = dial(url.protocol === "https:", {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? undefined : url.port,
    path: `${url.pathname}${url.search}`,
    headers: { host: url.host, ...BASIC, ...credentialsOf(url), ...Object.fromEntries(new Headers(init?.headers)) },
    agent: false,
    ...(signal === undefined ? {} : { signal }),
  });
  return new Promise((resolve, reject) => {
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      if (signal?.aborted === true)
        reject(new HttpError("aborted", "the request was given up", { cause: signal.reason }));
      else reject(transportFailure(error));
    });
    outgoing.once("response", (incoming) => {
      const status = incoming.statusCode ?? 0;
      const headers = new Headers();
      for (const [name, value] of Object.entries(incoming.headers))
        for (const one of [value ?? []].flat()) headers.append(name, one);
      // No answer with such a status has a body, and Response takes none.
      const isBare = status === 204 || status === 304;
      if (isBare) incoming.resume();
      resolve(new Response(isBare ? null : (Readable.toWeb(incoming) as ReadableStream), { status, headers }));
    });
    outgoing.end();
  });
};

/** The bytes as they are; some servers turn away who does not say what he is. */
const BASIC = { "user-agent": "dstack", accept: "*/*", "accept-encoding": "identity", connection: "close" };

function credentialsOf({ username, password }: URL): { readonly authorization?: string } {
  if (username === "" && password === "") return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}
