import { errorChain } from "@dstack/errors";
import type { HttpRoute } from "@dstack/rpc";
import type { Agent } from "./agent.ts";
import { buildAppInfo } from "./app-info.ts";
import { buildEvidence } from "./evidence.ts";
import { renderPublicPage } from "./public-page.ts";
import type { QuoteGate } from "./quote-gate.ts";

/** What the public listener has besides its RPC: a page for people, and evidence where the manifest makes it public. */
export function publicRoutes(agent: Agent, gate: QuoteGate): readonly HttpRoute[] {
  const page = pageRoute(agent, gate);
  return agent.manifest.compose.publicTcbinfo ? [page, evidenceRoute(agent, gate)] : [page];
}

const pageRoute = (agent: Agent, gate: QuoteGate): HttpRoute => ({
  verbs: ["GET"],
  path: "/",
  handle: async ({ response }) => {
    const html = await gate(async () => renderPublicPage(agent, await buildAppInfo(agent, "external"))).catch(
      (error: unknown) => errorChain(error),
    );
    response
      .writeHead(200, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
      })
      .end(html);
  },
});

const evidenceRoute = (agent: Agent, gate: QuoteGate): HttpRoute => ({
  verbs: ["GET"],
  path: "/evidence",
  handle: async ({ response, url }) => {
    const answer = await gate(() => buildEvidence(agent, url.searchParams.get("nonce") ?? "")).then(
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
});
