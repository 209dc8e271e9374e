import { Agent, request as plainRequest, type ClientRequest } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";

export interface BoundedRequest {
  readonly url: string;
  /** Posted as JSON; a GET where undefined. */
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM; the only roots that count. The public ones where undefined. */
  readonly ca: string | undefined;
  /** Connections that may be used again, from `keptConnections`. */
  readonly connections: Agent;
  /** Of everything from the connection to the last byte. */
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
  readonly signal: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

const IDLE_MS = 30_000;
const MAX_IDLE = 8;

/** Connections to one server, kept for a while: making one costs more than asking, and with TLS several times that. */
export function keptConnections(url: string): Agent {
  const options = { keepAlive: true, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS };
  return url.startsWith("https:") ? new TlsAgent(options) : new Agent(options);
}

/**
 * One HTTP exchange: no redirects, one deadline, a bounded answer. One attempt, but for a kept
 * connection that the server had closed meanwhile: that is replaced by a new one.
 * @throws Error that says why there is no answer
 */
export async function boundedRequest(options: BoundedRequest): Promise<Answer> {
  const begun = performance.now();
  try {
    return await exchange(options, options.connections, options.timeoutMs);
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error;
    return exchange(options, false, Math.max(1, options.timeoutMs - (performance.now() - begun)));
  }
}

class StaleConnection extends Error {}

const CLOSED: ReadonlySet<string | undefined> = new Set(["ECONNRESET", "EPIPE"]);

function exchange(options: BoundedRequest, agent: Agent | false, timeoutMs: number): Promise<Answer> {
  const { url, body, ca, maxAnswerBytes, signal } = options;
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
        ...(body === undefined
          ? {}
          : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
      },
      agent,
      ...(signal === undefined ? {} : { signal }),
    } as const;
    const outgoing: ClientRequest = url.startsWith("https:")
      ? tlsRequest(url, { ...request, minVersion: "TLSv1.2", ...(ca === undefined ? {} : { ca }) })
      : plainRequest(url, request);
    const timer = setTimeout(() => fail(new Error(`no answer within ${options.timeoutMs} ms`)), timeoutMs);
    let isAnswered = false;
    outgoing.on("error", (error) =>
      fail(
        outgoing.reusedSocket && !isAnswered && CLOSED.has((error as NodeJS.ErrnoException).code)
          ? new StaleConnection(error.message, { cause: error })
          : error,
      ),
    );
    outgoing.on("response", (response) => {
      isAnswered = true;
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
