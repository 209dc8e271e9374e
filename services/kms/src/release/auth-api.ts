import type { Agent } from "node:http";
import { excerpt } from "@dstack/errors";
import { KmsError } from "../errors.ts";
import { boundedRequest, keptConnections, type Answer } from "./bounded-request.ts";

/** Identity and measurements as the webhook takes them: hex without prefix. */
export type BootInfoJson = Readonly<Record<string, string | readonly string[]>>;

export type AuthDecision =
  | { readonly kind: "allowed"; readonly gatewayAppId: string }
  /** `rule` and `field` where the server says what decided. */
  | {
      readonly kind: "denied";
      readonly reason: string;
      readonly rule: string | undefined;
      readonly field: string | undefined;
    };

/** What the one who is denied is told: the reason, and what decided where the server says so. */
export const denialText = ({ reason, rule, field }: Extract<AuthDecision, { readonly kind: "denied" }>): string =>
  rule === undefined ? reason : `${reason} (rule ${rule}, field ${field ?? "isAllowed"})`;

export interface AuthInfo {
  readonly kmsContractAddr: string;
  readonly gatewayAppId: string;
  readonly chainId: bigint;
  readonly appImplementation: string;
  /** Empty where the server does not say. */
  readonly ethRpcUrl: string;
}

/** Who may have keys. Decisions are never kept: a withdrawn permission counts at the next request. */
export interface AuthApi {
  readonly isDev: boolean;
  /** @throws KmsError `auth-unreachable`, `auth-answer-invalid`: neither is a denial */
  bootAuth(kind: "app" | "kms", bootInfo: BootInfoJson, signal?: AbortSignal): Promise<AuthDecision>;
  /** @throws KmsError as `bootAuth` */
  info(): Promise<AuthInfo>;
}

/** Allows everything; only for folders marked development. */
export function devAuthApi(gatewayAppId: string): AuthApi {
  return {
    isDev: true,
    bootAuth: () => Promise.resolve({ kind: "allowed", gatewayAppId }),
    info: () =>
      Promise.resolve({ kmsContractAddr: "", gatewayAppId, chainId: 0n, appImplementation: "", ethRpcUrl: "" }),
  };
}

export interface WebhookOptions {
  readonly url: string;
  readonly timeoutMs: number;
  readonly userAgent: string;
  readonly clock: { now(): number };
  /** The token for the server, asked for at each request so that it can be replaced; undefined for none. */
  readonly bearerToken?: () => Promise<string>;
  /** PEM; the only roots that the server's certificate may lead to. The public ones where absent. */
  readonly ca?: string;
}

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_REASON_CHARS = 1_000;
/** Anonymous calls ask for the information; they must not become calls to a chain one by one (DS #1311). */
const INFO_AGE_MS = 1_000;

/** Asks a webhook. One attempt, one deadline, a bounded answer. */
export function webhookAuthApi(options: WebhookOptions): AuthApi {
  const base = options.url.replace(/\/+$/, "");
  const connections = keptConnections(base);
  let known: { readonly at: number; readonly info: AuthInfo } | undefined;
  let asking: Promise<AuthInfo> | undefined;
  const askInfo = async (): Promise<AuthInfo> => {
    const info = readInfo(await ask(options, connections, `${base}/`, undefined), base);
    known = { at: options.clock.now(), info };
    return info;
  };
  return {
    isDev: false,
    bootAuth: async (kind, bootInfo, signal) => {
      const url = `${base}/bootAuth/${kind}`;
      return readDecision(await ask(options, connections, url, JSON.stringify(bootInfo), signal), url);
    },
    info: () => {
      const age = options.clock.now() - (known?.at ?? Number.NEGATIVE_INFINITY);
      if (known !== undefined && age >= 0 && age < INFO_AGE_MS) return Promise.resolve(known.info);
      asking ??= askInfo().finally(() => {
        asking = undefined;
      });
      return asking;
    },
  };
}

async function ask(
  options: WebhookOptions,
  connections: Agent,
  url: string,
  body: string | undefined,
  signal?: AbortSignal,
): Promise<Answer> {
  const { timeoutMs, userAgent, bearerToken, ca } = options;
  try {
    const token = await bearerToken?.();
    const headers = { "user-agent": userAgent, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    return await boundedRequest({
      url,
      body,
      headers,
      ca,
      connections,
      timeoutMs,
      maxAnswerBytes: MAX_ANSWER_BYTES,
      signal,
    });
  } catch (cause) {
    throw new KmsError(
      "auth-unreachable",
      `auth api ${url} could not be asked (${why(cause)}); this is no denial, try again`,
      { cause },
    );
  }
}

function readDecision(answer: Answer, url: string): AuthDecision {
  const json = readJson(answer, url);
  const { isAllowed, gatewayAppId, reason, rule, field } = json;
  if (typeof isAllowed !== "boolean" || typeof gatewayAppId !== "string" || typeof reason !== "string")
    throw undecodable(answer, url);
  if (isAllowed) return { kind: "allowed", gatewayAppId };
  return {
    kind: "denied",
    reason: excerpt(reason, { maxChars: MAX_REASON_CHARS }),
    rule: typeof rule === "string" ? excerpt(rule) : undefined,
    field: typeof field === "string" ? excerpt(field) : undefined,
  };
}

function readInfo(answer: Answer, url: string): AuthInfo {
  const { status, kmsContractAddr, gatewayAppId, chainId, appImplementation, ethRpcUrl } = readJson(answer, url);
  const isComplete =
    typeof status === "string" &&
    typeof kmsContractAddr === "string" &&
    typeof gatewayAppId === "string" &&
    typeof appImplementation === "string";
  if (!isComplete || typeof chainId !== "number" || !Number.isSafeInteger(chainId) || chainId < 0)
    throw undecodable(answer, url);
  return {
    kmsContractAddr,
    gatewayAppId,
    chainId: BigInt(chainId),
    appImplementation,
    ethRpcUrl: typeof ethRpcUrl === "string" ? excerpt(ethRpcUrl) : "",
  };
}

function readJson(answer: Answer, url: string): Record<string, unknown> {
  if (answer.status < 200 || answer.status >= 300)
    throw new KmsError("auth-answer-invalid", `auth api ${url} returned ${answer.status}: ${excerpt(answer.text)}`);
  try {
    const json: unknown = JSON.parse(answer.text);
    if (typeof json === "object" && json !== null) return json as Record<string, unknown>;
  } catch (cause) {
    throw undecodable(answer, url, cause);
  }
  throw undecodable(answer, url);
}

const undecodable = ({ status, text }: Answer, url: string, cause?: unknown): KmsError =>
  new KmsError(
    "auth-answer-invalid",
    `failed to decode response from ${url}, status=${status}, body=${excerpt(text)}`,
    { cause },
  );

// Where every address of a name refused, Node's error has no text of its own.
const why = (cause: unknown): string =>
  cause instanceof Error ? cause.message || ((cause as NodeJS.ErrnoException).code ?? "no answer") : String(cause);
