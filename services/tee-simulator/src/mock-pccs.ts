/** The provisioning service's routes, served from the mock PKI: what verifiers take collateral from. */
import { toHex } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { startHttpServer } from "@dstack/rpc";
import type { HttpExchange, HttpRoute, HttpServer } from "@dstack/rpc";
import { mockCollateral, signedBody } from "./mock-collateral.ts";
import type { MockEdition, MockTee } from "./mock-collateral.ts";
import type { MockPki } from "./mock-pki.ts";

export interface MockPccsOptions {
  readonly pki: MockPki;
  readonly host: string;
  readonly port: number;
  readonly log: Logger;
  /** Milliseconds. */
  readonly clock: { now(): number };
  /**
   * Asked with each request of TCB info or QE identity; undefined: there is no such issue (404). Without it there
   * is one, of number 1, by which the platform is up to date, and the early one is the same.
   */
  readonly edition?: (asked: MockEditionName) => MockEdition | undefined;
}

/** As clients of the API name one: `update`, or `tcbEvaluationDataNumber`. */
export type MockEditionName = "standard" | "early" | number;

const onlyEdition = (asked: MockEditionName): MockEdition | undefined =>
  typeof asked === "number" && asked !== 1 ? undefined : { evaluation: 1, microcode: 0 };

/** Serves until closed. */
export function startMockPccs(options: MockPccsOptions): Promise<HttpServer> {
  const routes = (["sgx", "tdx"] as const).flatMap((tee) => collateralRoutes(tee, options));
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

function collateralRoutes(tee: MockTee, { pki, clock, edition = onlyEdition }: MockPccsOptions): HttpRoute[] {
  const base = `/${tee}/certification/v4`;
  const collateral = ({ url }: HttpExchange): ReturnType<typeof mockCollateral> | undefined => {
    const asked = edition(editionAsked(url.searchParams));
    return asked === undefined ? undefined : mockCollateral(pki, Math.floor(clock.now() / 1000), asked, tee);
  };
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
      const documents = collateral(exchange);
      if (documents === undefined) return void exchange.response.writeHead(404).end();
      const { tcbInfo, tcbInfoSignature } = documents;
      send(exchange, "application/json", signedBody("tcbInfo", tcbInfo, tcbInfoSignature), {
        [tee === "tdx" ? "TCB-Info-Issuer-Chain" : "SGX-TCB-Info-Issuer-Chain"]: encodeURIComponent(pki.tcbChainPem),
      });
    }),
    get("/qe/identity", (exchange) => {
      const documents = collateral(exchange);
      if (documents === undefined) return void exchange.response.writeHead(404).end();
      const { qeIdentity, qeIdentitySignature } = documents;
      send(exchange, "application/json", signedBody("enclaveIdentity", qeIdentity, qeIdentitySignature), {
        "SGX-Enclave-Identity-Issuer-Chain": encodeURIComponent(pki.qeChainPem),
      });
    }),
  ];
}

function editionAsked(query: URLSearchParams): MockEditionName {
  const number = query.get("tcbEvaluationDataNumber");
  if (number !== null) return Number(number);
  return query.get("update") === "early" ? "early" : "standard";
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
