import { utf8Decode } from "@dstack/bytes";
import { createPublicClient, http, type PublicClient } from "viem";
import { errorChain, excerpt } from "@dstack/errors";
import { exchange, keptConnections } from "@dstack/http";
import { GovernanceError } from "../errors.ts";
import { rpcAnswer, secretsOf } from "./provider-words.ts";

/** One JSON-RPC server of a chain. Its address may hold a key: no error of it has more than `name`. */
export interface Endpoint {
  /** Scheme and host. */
  readonly name: string;
  readonly client: PublicClient;
  /** One question to it as text, and the answer's. @throws HttpError, BytesError, without words of the server */
  post(body: string, signal?: AbortSignal): Promise<{ readonly status: number; readonly text: string }>;
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** @throws GovernanceError `environment-invalid` for what is no HTTP URL */
export function endpoint(url: string, timeoutMs: number): Endpoint {
  const name = originOf(url);
  const parsed = new URL(url);
  const secrets = secretsOf(parsed);
  const connections = keptConnections(name);
  const post: Endpoint["post"] = async (body, signal) => {
    const { status, body: answer } = await exchange({
      url: parsed,
      headers: { "content-type": "application/json", ...basicOf(parsed) },
      body,
      repeatable: onlyReads(body),
      connections,
      timeoutMs,
      maxAnswerBytes: MAX_ANSWER_BYTES,
      signal,
    });
    const text = utf8Decode(answer, "answer");
    const isPage = (status < 200 || status >= 300) && !/^\s*\{/.test(text);
    const message = `answered ${status}`;
    return { status, text: JSON.stringify(isPage ? { error: { code: 0, message } } : rpcAnswer(text, secrets)) };
  };
  const fetchFn: typeof fetch = async (_, init) => {
    const { status, text } = await post(String(init?.body), init?.signal ?? undefined);
    return new Response(text, { status, headers: { "content-type": "application/json" } });
  };
  // The library quotes the address that it is given in its errors.
  const transport = http(name, { timeout: timeoutMs, retryCount: 0, fetchFn });
  return { name, client: createPublicClient({ transport }), post };
}

const READS = /^eth_(?:blockNumber|call|chainId|estimateGas|feeHistory|gasPrice|get[A-Z]\w*|maxPriorityFeePerGas)$/;

/** Whether a JSON-RPC request changes nothing on the chain. */
export function onlyReads(body: string): boolean {
  const { method } = JSON.parse(body) as { readonly method?: unknown };
  return typeof method === "string" && READS.test(method);
}

/** Scheme and host of a URL. @throws GovernanceError `environment-invalid` */
export function originOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol))
    throw new GovernanceError("environment-invalid", "an RPC endpoint is no http or https URL");
  return parsed.origin;
}

/** What went wrong, in one line: the library's own text has the request too, over many. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error && "shortMessage" in error) {
    const details = "details" in error && typeof error.details === "string" ? error.details : "";
    const text = String(error.shortMessage);
    return line(details === "" || text.includes(details) ? text : `${text} ${details}`);
  }
  return line(errorChain(error));
}

const line = (text: string): string => excerpt(text.replace(/\s+/g, " "), REASON);

const REASON = { maxChars: 300 } as const;

function basicOf({ username, password }: URL): { readonly authorization?: string } {
  if (username === "" && password === "") return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` };
}
