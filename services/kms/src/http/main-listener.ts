/**
 * The listener that guests, gateways and other KMS call.
 * In: a KMS that has its keys. Out: TLS with the RPC service and what stands beside it.
 * Every caller is bounded before his request's body is read; the certificate's evidence is
 * renewed while it serves.
 * Never: a start without evidence where the configuration asks for it.
 */
import { mount, startHttpServer, type HttpServer } from "@dstack/rpc";
import { VERSION_TEXT } from "@dstack/proto/wire";
import { firstAttestedCertificate, refreshAttestedCertificate } from "../self/rpc-certificate.ts";
import { kmsService } from "../kms-service.ts";
import type { OpenKms } from "../open-kms.ts";
import { AnonymousLimits } from "../rate-limit/anonymous-limits.ts";
import { httpRoutes } from "./http-routes.ts";

export interface MainListener {
  readonly server: HttpServer;
  /** Paths of the RPC methods that are served. */
  readonly methods: readonly string[];
  close(): Promise<void>;
}

/** To send a whole request; how long its answer takes is another matter. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 15_000;
/** About 70 KiB each with TLS. */
const MAX_CONNECTIONS = 8_192;

/** @throws KmsError `agent-unavailable` where there is no evidence for the certificate; the system's error */
export async function startMainListener(kms: OpenKms): Promise<MainListener> {
  const { config, keys, metrics, log, clock } = kms;
  const limits = new AnonymousLimits({ ...config.rateLimit, clock, onRefusal: (by) => metrics.rateLimited(by) });
  const service = limits.limit(kmsService(kms));
  const attested = config.selfAttestation.attestCertificate
    ? { keyFolder: config.keyFolder, olderForm: config.olderForm, keys, self: kms.self, clock, log }
    : undefined;
  const server = await startHttpServer({
    listen: config.listen,
    // The leaf alone: peers get the root from GetTempCaCert and trust nothing that comes with the connection.
    tls: {
      key: keys.rpcKeyPem,
      cert: attested === undefined ? keys.rpcCertificatePem : await firstAttestedCertificate(attested),
      requestClientCertificate: true,
    },
    mounts: [mount("/prpc/", service)],
    routes: httpRoutes(kms, service),
    guard: async (exchange) => {
      const { url, response } = exchange;
      response.once("finish", () => metrics.observe(url.pathname, response.statusCode));
      return limits.admit(exchange);
    },
    headers: { "x-app-version": VERSION_TEXT },
    log,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    headersTimeoutMs: HEADERS_TIMEOUT_MS,
    maxConnections: MAX_CONNECTIONS,
  });
  const stopRefreshing = attested === undefined ? undefined : refreshAttestedCertificate(server, attested);
  return {
    server,
    methods: service.routes.map(({ method }) => `/prpc/${method}`),
    close: () => {
      stopRefreshing?.();
      return server.close();
    },
  };
}
