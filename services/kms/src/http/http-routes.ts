import type { ServerResponse } from "node:http";
import type { AuditLog } from "@dstack/audit-log";
import { errorChain, type HttpRoute } from "@dstack/rpc";
import { KmsError } from "../errors.ts";
import type { Metrics } from "../metrics.ts";
import type { AuthApi } from "../release/auth-api.ts";
import type { SelfAuthorization } from "../self/self-authorization.ts";
import type { Status } from "../status.ts";

export interface HttpRoutesOptions {
  readonly status: Status;
  readonly metrics: Metrics | undefined;
  readonly audit: AuditLog;
  readonly auth: AuthApi;
  readonly selfAuthorization: SelfAuthorization;
}

/** Routes beside the RPC mount; none of them needs or tells a secret. */
export function httpRoutes({ status, metrics, audit, auth, selfAuthorization }: HttpRoutesOptions): HttpRoute[] {
  const ok = ({ response }: { readonly response: ServerResponse }): Promise<void> => Promise.resolve(send(response, 200, "text/plain; charset=utf-8", "OK"));
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
    {
      verbs: ["GET"],
      path: "/",
      handle: ({ response }) =>
        Promise.resolve(send(response, 200, "application/json", `${JSON.stringify({ name: "dstack-kms", version: status.version, domain: status.domain, ...status.report() }, null, 2)}\n`)),
    },
    ...(metrics === undefined ? [] : [metricsRoute(metrics)]),
  ];
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
