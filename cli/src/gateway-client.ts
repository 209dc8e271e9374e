import { readFile } from "node:fs/promises";
import { request } from "node:https";
import type { TLSSocket } from "node:tls";
import { CliError } from "./errors.ts";

export interface GatewayAnswer {
  readonly status: number;
  readonly body: string;
  /** DER of the leaf certificate that the TLS peer proved to own. */
  readonly certificate: Uint8Array;
  readonly authorized: boolean;
}

export interface GatewayRequest {
  readonly url: URL;
  /** PEM file of the authority that signs the gateway's certificate; the system's roots without it. */
  readonly caFile?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * GETs a URL of an app. Names under `.localhost` are dialled on loopback whatever DNS says
 * (RFC 6761), with the name as SNI.
 * @throws CliError with the reason
 */
export async function getThroughGateway(options: GatewayRequest): Promise<GatewayAnswer> {
  const { url, timeoutMs } = options;
  const maxBytes = options.maxBytes ?? 8 * 1024 * 1024;
  const ca = options.caFile === undefined ? undefined : await readFile(options.caFile);
  const host = url.hostname.endsWith(".localhost") ? "127.0.0.1" : url.hostname;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(new CliError("failed", `${url.host} did not answer: ${cause.message}`, { cause }));
    };
    const outgoing = request({
      host,
      port: url.port === "" ? 443 : Number(url.port),
      servername: url.hostname,
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, "user-agent": "dstack-cli", connection: "close" },
      agent: false,
      ...(ca === undefined ? {} : { ca }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.once("error", fail);
    outgoing.once("response", (response) => {
      const socket = response.socket as TLSSocket;
      const certificate = new Uint8Array(socket.getPeerX509Certificate()?.raw ?? []);
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > maxBytes) fail(new Error(`answer exceeds ${maxBytes} bytes`));
        else chunks.push(chunk);
      });
      response.once("error", fail);
      response.once("end", () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8"), certificate, authorized: socket.authorized });
      });
    });
    outgoing.end();
  });
}
