import { createPublicClient, http, type PublicClient } from "viem";
import { errorChain } from "@dstack/errors";
import { boundedFetch } from "@dstack/http";
import { GovernanceError } from "../errors.ts";

/** One JSON-RPC server of a chain. */
export interface Endpoint {
  /** Scheme and host: the rest of a URL may hold a key. */
  readonly name: string;
  readonly client: PublicClient;
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** @throws GovernanceError `environment-invalid` for what is no HTTP URL */
export function endpoint(url: string, timeoutMs: number): Endpoint {
  const name = originOf(url);
  const fetchFn = boundedFetch({ maxAnswerBytes: MAX_ANSWER_BYTES, timeoutMs, isRepeatable: onlyReads });
  const transport = http(url, { timeout: timeoutMs, retryCount: 0, fetchFn });
  return { name, client: createPublicClient({ transport }) };
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

/** What went wrong, without the URL and without the request: both may hold secrets. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error && "shortMessage" in error) {
    const details = "details" in error && typeof error.details === "string" ? error.details : "";
    return `${String(error.shortMessage)}${details === "" || String(error.shortMessage).includes(details) ? "" : ` ${details}`}`
      .replace(/https?:\/\/\S+/g, "(endpoint)")
      .slice(0, 300);
  }
  return (error instanceof Error ? errorChain(error) : String(error))
    .replace(/https?:\/\/\S+/g, "(endpoint)")
    .slice(0, 300);
}
