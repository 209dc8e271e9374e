import type { ServerResponse } from "node:http";
import { type DescribedRoute, type DescribedService, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import type { KmsConfig } from "../config/kms-config.ts";
import type { Metrics } from "../metrics.ts";
import type { OpenKms } from "../open-kms.ts";
import { apiDescriptionRoute } from "./api-description.ts";
import { readiness } from "./readiness.ts";
import { statusPage, type StatusReport } from "./status-page.ts";

const LINKS = { meta: "/prpc/GetMeta", api: "/openapi.json", health: "/healthz", readiness: "/readyz" } as const;
const DESCRIBED: readonly DescribedRoute[] = [
  {
    path: "/",
    summary: "Name, version, environment and insecure settings; a page where HTML is accepted",
    answers: ["application/json", "text/html"],
  },
  { path: "/health", summary: "Alive", answers: ["text/plain"] },
  { path: "/healthz", summary: "Alive", answers: ["text/plain"] },
  {
    path: "/readyz",
    summary: "Whether keys could be released now",
    answers: ["application/json"],
    otherwise: { 503: "They could not; the problems" },
  },
];
const DESCRIBED_METRICS: DescribedRoute = { path: "/metrics", summary: "Prometheus text", answers: ["text/plain"] };

/** Routes beside the RPC service, which is mounted at `/prpc/`; none of them needs or tells a secret. */
export function httpRoutes(
  kms: Pick<OpenKms, "status" | "metrics" | "audit" | "auth" | "selfAuthorization" | "clock"> & {
    readonly config: Pick<KmsConfig, "metricsEnabled">;
  },
  service: DescribedService["service"],
): HttpRoute[] {
  const { status } = kms;
  const metrics = kms.config.metricsEnabled ? kms.metrics : undefined;
  const ok = ({ response }: { readonly response: ServerResponse }): Promise<void> =>
    Promise.resolve(send(response, 200, "text/plain; charset=utf-8", "OK"));
  const report: StatusReport = {
    name: "dstack-kms",
    version: status.version,
    domain: status.domain,
    ...status.report(),
    links: { ...LINKS, ...(metrics === undefined ? {} : { metrics: "/metrics" }) },
  };
  const problemsNow = readiness(kms);
  return [
    { verbs: ["GET"], path: "/health", handle: ok },
    { verbs: ["GET"], path: "/healthz", handle: ok },
    {
      verbs: ["GET"],
      path: "/readyz",
      handle: async ({ response }) => {
        const problems = await problemsNow();
        const { seq, hash } = kms.audit.head;
        send(
          response,
          problems.length === 0 ? 200 : 503,
          "application/json",
          JSON.stringify({ ready: problems.length === 0, problems, audit: { seq, hash } }),
        );
      },
    },
    { verbs: ["GET"], path: "/", handle: (exchange) => Promise.resolve(sendReport(exchange, report)) },
    apiDescriptionRoute({
      title: "dstack KMS",
      version: status.version,
      service,
      routes: [...DESCRIBED, ...(metrics === undefined ? [] : [DESCRIBED_METRICS])],
    }),
    ...(metrics === undefined ? [] : [metricsRoute(metrics)]),
  ];
}

/** A page for browsers, which name HTML; data for everybody else. */
function sendReport({ request, response }: HttpExchange, report: StatusReport): void {
  response.setHeader("vary", "accept");
  if (!/\btext\/html\b/i.test(request.headers.accept ?? ""))
    return send(response, 200, "application/json", `${JSON.stringify(report, null, 2)}\n`);
  response.setHeader(
    "content-security-policy",
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  );
  response.setHeader("x-content-type-options", "nosniff");
  send(response, 200, "text/html; charset=utf-8", statusPage(report));
}

const metricsRoute = (metrics: Metrics): HttpRoute => ({
  verbs: ["GET"],
  path: "/metrics",
  handle: async ({ response }) => send(response, 200, "text/plain; version=0.0.4; charset=utf-8", await metrics.text()),
});

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body);
}
