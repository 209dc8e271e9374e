import type { ServerResponse } from "node:http";
import type { AuditLog } from "@dstack/audit-log";
import { errorChain, type DescribedRoute, type DescribedService, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { KmsError } from "../errors.ts";
import type { Metrics } from "../metrics.ts";
import type { AuthApi } from "../release/auth-api.ts";
import type { SelfAuthorization } from "../self/self-authorization.ts";
import type { Status } from "../status.ts";
import { apiDescriptionRoute } from "./api-description.ts";
import { statusPage, type StatusReport } from "./status-page.ts";

export interface HttpRoutesOptions {
  readonly status: Status;
  readonly metrics: Metrics | undefined;
  readonly audit: AuditLog;
  readonly auth: AuthApi;
  readonly selfAuthorization: SelfAuthorization;
  /** What is mounted at `/prpc/`. */
  readonly service: DescribedService["service"];
}

const LINKS = { meta: "/prpc/GetMeta", api: "/openapi.json", health: "/healthz", readiness: "/readyz" } as const;
const DESCRIBED: readonly DescribedRoute[] = [
  { path: "/", summary: "Name, version, environment and insecure settings; a page where HTML is accepted", answers: "application/json" },
  { path: "/health", summary: "Alive", answers: "text/plain" },
  { path: "/healthz", summary: "Alive", answers: "text/plain" },
  { path: "/readyz", summary: "200 where keys could be released now, else 503 with the problems", answers: "application/json" },
];
const DESCRIBED_METRICS: DescribedRoute = { path: "/metrics", summary: "Prometheus text", answers: "text/plain" };

/** Routes beside the RPC mount; none of them needs or tells a secret. */
export function httpRoutes({ status, metrics, audit, auth, selfAuthorization, service }: HttpRoutesOptions): HttpRoute[] {
  const ok = ({ response }: { readonly response: ServerResponse }): Promise<void> => Promise.resolve(send(response, 200, "text/plain; charset=utf-8", "OK"));
  const report: StatusReport = {
    name: "dstack-kms", version: status.version, domain: status.domain, ...status.report(),
    links: { ...LINKS, ...(metrics === undefined ? {} : { metrics: "/metrics" }) },
  };
  return [
    { verbs: ["GET"], path: "/health", handle: ok },
    { verbs: ["GET"], path: "/healthz", handle: ok },
    {
      verbs: ["GET"],
      path: "/readyz",
      handle: async ({ response }) => {
        const problems = await notReady(audit, auth, selfAuthorization);
        send(response, problems.length === 0 ? 200 : 503, "application/json", JSON.stringify({ ready: problems.length === 0, problems }));
      },
    },
    { verbs: ["GET"], path: "/", handle: (exchange) => Promise.resolve(sendReport(exchange, report)) },
    apiDescriptionRoute({ title: "dstack KMS", version: status.version, service, routes: [...DESCRIBED, ...(metrics === undefined ? [] : [DESCRIBED_METRICS])] }),
    ...(metrics === undefined ? [] : [metricsRoute(metrics)]),
  ];
}

/** A page for browsers, which name HTML; data for everybody else. */
function sendReport({ request, response }: HttpExchange, report: StatusReport): void {
  response.setHeader("vary", "accept");
  if (!/\btext\/html\b/i.test(request.headers.accept ?? "")) return send(response, 200, "application/json", `${JSON.stringify(report, null, 2)}\n`);
  response.setHeader("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
  response.setHeader("x-content-type-options", "nosniff");
  send(response, 200, "text/html; charset=utf-8", statusPage(report));
}

const metricsRoute = (metrics: Metrics): HttpRoute => ({
  verbs: ["GET"],
  path: "/metrics",
  handle: async ({ response }) => send(response, 200, "text/plain; version=0.0.4; charset=utf-8", await metrics.text()),
});

/** Why no key could be released right now. */
async function notReady(audit: AuditLog, auth: AuthApi, selfAuthorization: SelfAuthorization): Promise<string[]> {
  const problems = await auditProblem(audit);
  for (const ask of [() => auth.info(), () => selfAuthorization.require()]) {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      problems.push(errorChain(error));
    }
  }
  return problems;
}

/** A log that failed is tried again: where nobody is served, nothing else would notice that it works. */
async function auditProblem(audit: AuditLog): Promise<string[]> {
  const failure = await audit.probe();
  return failure === undefined ? [] : [`audit log: ${failure}`];
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body);
}
