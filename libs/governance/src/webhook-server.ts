import { readFile } from "node:fs/promises";
import { errorChain, excerpt } from "@dstack/errors";
import { ADMIN_LOGINS, adminCredentials, challengeOf } from "@dstack/http";
import type { Logger } from "@dstack/log";
import { startHttpServer, type HttpExchange, type HttpServer, type Listen } from "@dstack/rpc";
import { GovernanceError } from "./errors.ts";
import { publicKeyHex, signingKey } from "./signing-key.ts";
import { webhookRoutes, type WebhookBackend } from "./webhook.ts";

export type { WebhookBackend, WebhookDecision } from "./webhook.ts";

export interface WebhookServerOptions {
  readonly listen: Listen;
  readonly backend: WebhookBackend;
  readonly log: Logger;
  /** `ANSWER_KEY_PATH`: the key that signs answers. `BEARER_TOKEN_PATH`: who may ask. Neither has to be there. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

const MAX_TOKEN_FILE_BYTES = 64 * 1024;

/** Serves an authorization webhook. @throws GovernanceError `environment-invalid`, `config-invalid`; the system's error */
export async function startWebhook({ listen, backend, log, env }: WebhookServerOptions): Promise<HttpServer> {
  const [keyPath, tokenPath] = [env["ANSWER_KEY_PATH"] ?? "", env["BEARER_TOKEN_PATH"] ?? ""];
  const key = keyPath === "" ? undefined : await signingKey(keyPath);
  if (key !== undefined) log.info({ answerKey: publicKeyHex(key), path: keyPath }, "answers are signed for who asks");
  if (tokenPath !== "") await tokensOf(tokenPath);
  return startHttpServer({
    listen,
    routes: webhookRoutes({ backend, log, key }),
    ...(tokenPath === "" ? {} : { guard: bearerGuard(() => tokensOf(tokenPath), log) }),
    log,
    requestTimeoutMs: 30_000,
  });
}

const OPEN: readonly string[] = ["/health", "/healthz"];

/**
 * Lets in who shows one of the tokens, which are looked up anew for every request; all but health is behind it. Where
 * they cannot be looked up, nobody gets in.
 */
export function bearerGuard(
  tokens: () => Promise<readonly string[]>,
  log: Logger,
): (exchange: HttpExchange) => Promise<boolean> {
  return async ({ request, response, url, requestId }) => {
    if (OPEN.includes(url.pathname)) return true;
    const { method = "", headers } = request;
    try {
      const mayAsk = adminCredentials({ rules: ADMIN_LOGINS.webhook, tokens: await tokens() });
      if (await mayAsk({ method, headers, query: url.searchParams })) return true;
    } catch (error) {
      log.error({ requestId, error: errorChain(error) }, "the tokens of who may ask cannot be read");
    }
    log.warn({ requestId, path: excerpt(url.pathname), rule: "bearer token", field: "authorization" }, "refused");
    const body = JSON.stringify({ error: "expected a bearer token of this webhook", request_id: requestId });
    response
      .writeHead(401, {
        "www-authenticate": challengeOf(ADMIN_LOGINS.webhook),
        "content-type": "application/json",
        connection: "close",
      })
      .end(body);
    return false;
  };
}

/** One token a line, so that a new one can count before the old one goes. @throws GovernanceError `environment-invalid` */
async function tokensOf(path: string): Promise<readonly string[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new GovernanceError("environment-invalid", `BEARER_TOKEN_PATH: ${path} cannot be read`, { cause });
  }
  const tokens = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (tokens.length === 0 || text.length > MAX_TOKEN_FILE_BYTES)
    throw new GovernanceError(
      "environment-invalid",
      `BEARER_TOKEN_PATH: ${path} has no token, or more than ${MAX_TOKEN_FILE_BYTES} bytes; expected one token a line`,
    );
  return tokens;
}
