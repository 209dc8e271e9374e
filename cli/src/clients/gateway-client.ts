import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { isIP } from "node:net";
import { connect, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { CliError } from "../terminal/errors.ts";

export interface GatewayAnswer {
  readonly status: number;
  readonly body: string;
  /** DER of the leaf certificate that the TLS peer proved to own. */
  readonly certificate: Uint8Array;
  /** The same and what else the peer showed, leaf first. */
  readonly certificates: readonly Uint8Array[];
  readonly authorized: boolean;
}

export interface GatewayRequest {
  readonly url: URL;
  /** PEM file of the authority that signs the gateway's certificate; the system's roots without it. */
  readonly caFile?: string | undefined;
  /** Goes on with a certificate that no trusted authority signed: for callers that judge it, and the answer, by evidence. */
  readonly acceptAnyCertificate?: boolean;
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
      ...(isIP(url.hostname) === 0 ? { servername: url.hostname } : {}),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, "user-agent": "dstack-cli", connection: "close" },
      agent: false,
      rejectUnauthorized: options.acceptAnyCertificate !== true,
      ...(ca === undefined ? {} : { ca }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.once("error", fail);
    outgoing.once("response", (response) => {
      const socket = response.socket as TLSSocket;
      const certificates = peerCertificates(socket);
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
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks).toString("utf8"),
          certificate: certificates[0] ?? new Uint8Array(),
          certificates,
          authorized: socket.authorized,
        });
      });
    });
    outgoing.end();
  });
}

/**
 * What a TLS server shows to those who ask for this name: its certificates, leaf first, whose leaf key it
 * proves to have. Nothing is sent, and nobody's signature is asked for.
 * @throws CliError with the reason
 */
export async function shownCertificates(url: URL, timeoutMs: number): Promise<readonly Uint8Array[]> {
  const port = url.port === "" ? 443 : Number(url.port);
  const host = url.hostname.endsWith(".localhost") ? "127.0.0.1" : url.hostname;
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host,
        port,
        ...(isIP(url.hostname) === 0 ? { servername: url.hostname } : {}),
        rejectUnauthorized: false,
        minVersion: "TLSv1.2",
      },
      () => {
        const certificates = peerCertificates(socket);
        socket.destroy();
        resolve(certificates);
      },
    );
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no TLS handshake within ${timeoutMs} ms`)));
    socket.once("error", (cause) =>
      reject(new CliError("failed", `${url.host} did not answer: ${cause.message}`, { cause })),
    );
  });
}

/** More than any chain of ours has. */
const MAX_CERTIFICATES = 6;

function peerCertificates(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = [];
  // Node's types say this is always a certificate; without one it is an empty object.
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < MAX_CERTIFICATES) {
    chain.push(new Uint8Array(next.raw));
    if (next.issuerCertificate === undefined || next.issuerCertificate.raw.equals(next.raw)) break;
    next = next.issuerCertificate;
  }
  return chain;
}
