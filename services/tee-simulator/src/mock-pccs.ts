/** The provisioning service's routes, served from the mock PKI: what verifiers take collateral from. */
import { toHex } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { startHttpServer } from "@dstack/rpc";
import type { HttpExchange, HttpRoute, HttpServer } from "@dstack/rpc";
import { mockCollateral, signedBody } from "./mock-collateral.ts";
import type { MockPki } from "./mock-pki.ts";

export interface MockPccsOptions {
  readonly pki: MockPki;
  readonly host: string;
  readonly port: number;
  readonly log: Logger;
  /** Milliseconds. */
  readonly clock: { now(): number };
}

/** Serves until closed. */
export function startMockPccs(options: MockPccsOptions): Promise<HttpServer> {
  const routes = ["sgx", "tdx"].flatMap((tee) => collateralRoutes(`/${tee}/certification/v4`, options));
  return startHttpServer({
    listen: { host: options.host, port: options.port },
    routes: [
      ...routes,
      {
        verbs: ["GET"],
        path: "/health",
        handle: async (exchange) => send(exchange, "application/json", '{"status":"ok"}'),
      },
    ],
    log: options.log,
  });
}

function collateralRoutes(base: string, { pki, clock }: MockPccsOptions): HttpRoute[] {
  const collateral = (): ReturnType<typeof mockCollateral> => mockCollateral(pki, Math.floor(clock.now() / 1000));
  const get = (path: string, handle: (exchange: HttpExchange) => void): HttpRoute => ({
    verbs: ["GET"],
    path: `${base}${path}`,
    handle: async (exchange) => handle(exchange),
  });
  return [
    get("/pckcrl", (exchange) =>
      send(exchange, "application/pkix-crl", pki.pckCrl, {
        "SGX-PCK-CRL-Issuer-Chain": encodeURIComponent(pki.pckCaChainPem),
      }),
    ),
    get("/rootcacrl", (exchange) => send(exchange, "text/plain", toHex(pki.rootCrl))),
    get("/tcb", (exchange) => {
      const { tcbInfo, tcbInfoSignature } = collateral();
      send(exchange, "application/json", signedBody("tcbInfo", tcbInfo, tcbInfoSignature), {
        "TCB-Info-Issuer-Chain": encodeURIComponent(pki.tcbChainPem),
      });
    }),
    get("/qe/identity", (exchange) => {
      const { qeIdentity, qeIdentitySignature } = collateral();
      send(exchange, "application/json", signedBody("enclaveIdentity", qeIdentity, qeIdentitySignature), {
        "SGX-Enclave-Identity-Issuer-Chain": encodeURIComponent(pki.qeChainPem),
      });
    }),
  ];
}

function send(
  { response }: HttpExchange,
  type: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(200, { "content-type": type, ...headers });
  response.end(body);
}
