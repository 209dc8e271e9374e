import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { connect, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { asRefusal } from "@dstack/errors";
import { CONNECT_TIMEOUT_MS, exchange, tlsSettings, transportFailure } from "@dstack/http";
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
  const { url } = options;
  const ca = options.caFile === undefined ? undefined : await readFile(options.caFile);
  let certificates: readonly Uint8Array[] = [];
  let authorized = false;
  const answer = await asRefusal(
    () =>
      exchange({
        url: `https://${url.host}${url.pathname}${url.search}`,
        dial: dialled(url),
        headers: { "user-agent": "dstack-cli" },
        tls: {
          ...serverName(url),
          rejectUnauthorized: options.acceptAnyCertificate !== true,
          ...(ca === undefined ? {} : { ca }),
        },
        checkPeer: (socket) => {
          certificates = peerCertificates(socket);
          authorized = socket.authorized;
        },
        timeoutMs: options.timeoutMs,
        maxAnswerBytes: options.maxBytes ?? 8 * 1024 * 1024,
        signal: options.signal,
      }),
    (cause) => new CliError("failed", `${url.host} did not answer: ${cause.message}`, { cause }),
  );
  return {
    status: answer.status,
    body: Buffer.from(answer.body).toString("utf8"),
    certificate: certificates[0] ?? new Uint8Array(),
    certificates,
    authorized,
  };
}

/**
 * What a TLS server shows to those who ask for this name: its certificates, leaf first, whose leaf key it
 * proves to have. Nothing is sent, and nobody's signature is asked for.
 * @throws CliError with the reason
 */
export async function shownCertificates(url: URL, timeoutMs: number): Promise<readonly Uint8Array[]> {
  const port = url.port === "" ? 443 : Number(url.port);
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host: dialled(url),
        port,
        ...serverName(url),
        rejectUnauthorized: false,
        ...tlsSettings({}),
      },
      () => {
        const certificates = peerCertificates(socket);
        socket.destroy();
        resolve(certificates);
      },
    );
    const limitMs = Math.min(timeoutMs, CONNECT_TIMEOUT_MS);
    const timer = setTimeout(() => socket.destroy(new Error(`no TLS connection within ${limitMs} ms`)), limitMs);
    socket.once("close", () => clearTimeout(timer));
    socket.once("error", (cause) =>
      reject(new CliError("failed", `${url.host} did not answer: ${transportFailure(cause).message}`, { cause })),
    );
  });
}

const dialled = (url: URL): string =>
  url.hostname.endsWith(".localhost") ? "127.0.0.1" : url.hostname.replace(/^\[|\]$/g, "");

/** SNI names no address. */
const serverName = ({ hostname }: URL): { readonly servername?: string } =>
  isIP(hostname.replace(/^\[|\]$/g, "")) === 0 ? { servername: hostname } : {};

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
