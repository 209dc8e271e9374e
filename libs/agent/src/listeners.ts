import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { errorChain } from "@dstack/errors";
import { mount, startHttpServer, type HttpRoute, type HttpServer } from "@dstack/rpc";
import { AGENT_VERSION, type AgentState } from "./agent-state.ts";
import { buildAppInfo } from "./app-info-message.ts";
import type { DemoCertificate } from "./demo-certificate.ts";
import { dstackService } from "./dstack-service.ts";
import { buildEvidence } from "./evidence.ts";
import { renderPublicPage } from "./public-page.ts";
import { quoteGate, type QuoteGate } from "./quote-gate.ts";
import { tappdService } from "./tappd-service.ts";
import { workerService } from "./worker-service.ts";

export const PUBLIC_PORT = 8090;

export interface ListenerOptions {
  /** `/run` on the real system. */
  readonly runFolder: string;
  readonly publicListen?: { readonly host: string; readonly port: number };
}

/** Opens the app's sockets and the public port. */
export async function startListeners(
  state: AgentState,
  demo: DemoCertificate,
  options: ListenerOptions,
): Promise<readonly HttpServer[]> {
  const { log } = state;
  // Old clients send legacy calls to the new socket and the other way round: both serve both.
  const mounts = [mount("/prpc/", tappdService(state, demo)), mount("/", dstackService(state, demo))];
  const socket = (name: string): Promise<HttpServer> =>
    startHttpServer({
      listen: { path: join(options.runFolder, name), mode: 0o777 },
      mounts,
      headers: { server: "dstack guest agent" },
      log,
    });
  const gate = quoteGate(4);
  const servers = await Promise.all([
    socket("dstack.sock"),
    socket("tappd.sock"),
    startHttpServer({
      listen: options.publicListen ?? { host: "0.0.0.0", port: PUBLIC_PORT },
      mounts: [mount("/prpc/", workerService(state, demo, gate))],
      routes: publicRoutes(state, demo, gate),
      headers: { "X-App-Version": `v${AGENT_VERSION.version} (${AGENT_VERSION.rev})`, server: "dstack guest agent" },
      maxConnections: 256,
      log,
    }),
  ]);
  await linkSockets(options.runFolder);
  return servers;
}

function publicRoutes(state: AgentState, demo: DemoCertificate, gate: QuoteGate): readonly HttpRoute[] {
  const page: HttpRoute = {
    verbs: ["GET"],
    path: "/",
    handle: async ({ response }) => {
      const html = await gate(async () => renderPublicPage(state, await buildAppInfo(state, demo, "external"))).catch(
        (error: unknown) => errorChain(error),
      );
      response
        .writeHead(200, {
          "content-type": "text/html; charset=utf-8",
          "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
        })
        .end(html);
    },
  };
  const evidence: HttpRoute = {
    verbs: ["GET"],
    path: "/evidence",
    handle: async ({ response, url }) => {
      const answer = await gate(() => buildEvidence(state, url.searchParams.get("nonce") ?? "")).then(
        (text) => ({ status: 200, text }),
        (error: unknown) => ({ status: 400, text: JSON.stringify({ error: errorChain(error) }) }),
      );
      response
        .writeHead(answer.status, {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(answer.text),
          "cache-control": "no-store",
          "access-control-allow-origin": "*",
        })
        .end(answer.text);
    },
  };
  return state.manifest.compose.publicTcbinfo ? [page, evidence] : [page];
}

/** The same sockets under the folder where newer clients look first. */
async function linkSockets(runFolder: string): Promise<void> {
  const folder = join(runFolder, "dstack");
  await mkdir(folder, { recursive: true });
  for (const name of ["dstack.sock", "tappd.sock"]) {
    await rm(join(folder, name), { force: true });
    await symlink(join("..", name), join(folder, name));
  }
}
