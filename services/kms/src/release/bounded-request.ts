import { request as plainRequest, type ClientRequest } from "node:http";
import { request as tlsRequest } from "node:https";

export interface BoundedRequest {
  readonly url: string;
  /** Posted as JSON; a GET where undefined. */
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM; the only roots that count. The public ones where undefined. */
  readonly ca: string | undefined;
  /** Of everything from the connection to the last byte. */
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
  readonly signal: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * One HTTP exchange on a connection of its own: one attempt, no redirects, one deadline, a bounded
 * answer. @throws Error that says why there is no answer
 */
export function boundedRequest(options: BoundedRequest): Promise<Answer> {
  const { url, body, ca, timeoutMs, maxAnswerBytes, signal } = options;
  return new Promise<Answer>((resolve, reject) => {
    const fail = (error: Error): void => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(error);
    };
    const request = {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...options.headers,
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
        connection: "close",
      },
      agent: false,
      ...(signal === undefined ? {} : { signal }),
    } as const;
    const outgoing: ClientRequest = url.startsWith("https:")
      ? tlsRequest(url, { ...request, minVersion: "TLSv1.2", ...(ca === undefined ? {} : { ca }) })
      : plainRequest(url, request);
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.on("error", fail);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > maxAnswerBytes) fail(new Error(`answer exceeds ${maxAnswerBytes} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", fail);
      response.on("end", () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") });
      });
    });
    outgoing.end(body);
  });
}
