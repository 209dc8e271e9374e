/**
 * The one client of an auth webhook: a KMS asks with it before it hands out keys, and whoever wants
 * to know beforehand what that KMS will be told asks with it too. In: a boot. Out: a decision, or an
 * error that is no denial. No decision is ever kept, no redirect followed, no answer read for longer
 * or further than its bounds; with pinned keys, none counts that they did not sign for this question.
 */
import { isUtf8 } from "node:buffer";
import { parseJson } from "@dstack/bytes";
import type { KeyObject } from "node:crypto";
import type { Agent } from "node:http";
import { errorChain, excerpt } from "@dstack/errors";
import { exchange, keptConnections, type HttpAnswer } from "@dstack/http";
import type { BootKind, SentBootInfo } from "./boot-info.ts";
import { GovernanceError } from "./errors.ts";
import { newQuestion, questionHeaders, requireSigned, type WebhookRequestLine } from "./signed-answer.ts";

export interface WebhookClientOptions {
  /** Base address, http or https. */
  readonly url: string;
  /** For everything, from the connection to the last byte. */
  readonly timeoutMs: number;
  readonly userAgent: string;
  /** The token for the server, asked for at each request so that it can be replaced; undefined for none. */
  readonly bearerToken?: (() => Promise<string>) | undefined;
  /** PEM; the only roots that the server's certificate may lead to. The public ones where absent. */
  readonly ca?: string | undefined;
  /** One of these must have signed each answer; none: answers are believed as they come. */
  readonly answerKeys?: readonly KeyObject[] | undefined;
  /** Whether connections to the server are used again: for whoever asks often. */
  readonly keepConnections?: boolean;
  /** How long what the server says of itself may be told again; each call asks where it is absent. */
  readonly infoPace?: { readonly maxAgeMs: number; readonly clock: { now(): number } } | undefined;
}

export type WebhookDecision =
  | { readonly kind: "allowed"; readonly gatewayAppId: string }
  /** `rule` and `field` where the server says what decided. */
  | {
      readonly kind: "denied";
      readonly reason: string;
      readonly rule: string | undefined;
      readonly field: string | undefined;
    };

/** What a webhook says of itself. */
export interface WebhookInfo {
  readonly kmsContractAddr: string;
  /** Which gateway apps trust: ids with commas between them, `any`, or nothing. */
  readonly gatewayAppId: string;
  readonly chainId: bigint;
  readonly appImplementation: string;
  /** Empty where the server does not say. */
  readonly ethRpcUrl: string;
  /** Why its policy is not what its operator wrote last; empty where it is. */
  readonly configError: string;
}

export interface WebhookClient {
  /** @throws GovernanceError `webhook-unreachable`, `webhook-answer-unproven`, `webhook-answer-invalid`: none is a denial */
  bootAuth(kind: BootKind, boot: SentBootInfo, signal?: AbortSignal): Promise<WebhookDecision>;
  /** @throws GovernanceError as `bootAuth` */
  info(): Promise<WebhookInfo>;
}

const MAX_ANSWER_BYTES = 64 * 1024;
const REASON = { maxChars: 1_000 } as const;

/** One attempt a question, one deadline, a bounded answer. */
export function webhookClient(options: WebhookClientOptions): WebhookClient {
  const base = options.url.replace(/\/+$/, "");
  const connections = options.keepConnections === true ? keptConnections(base) : undefined;
  return {
    bootAuth: async (kind, boot, signal) => {
      const line = { method: "POST", path: `/bootAuth/${kind}` } as const;
      const url = `${base}${line.path}`;
      return readDecision(await ask(options, connections, { url, line, body: JSON.stringify(boot), signal }), url);
    },
    info: paced(options.infoPace, async () => {
      const line = { method: "GET", path: "/" } as const;
      const question = { url: `${base}/`, line, body: undefined, signal: undefined };
      return readInfo(await ask(options, connections, question), base);
    }),
  };
}

/** Callers that come together, or soon after one another, are told one answer. Errors are not kept. */
function paced<T>(pace: WebhookClientOptions["infoPace"], askNow: () => Promise<T>): () => Promise<T> {
  if (pace === undefined) return askNow;
  let known: { readonly at: number; readonly value: T } | undefined;
  let asking: Promise<T> | undefined;
  const askAndKeep = async (): Promise<T> => {
    const value = await askNow();
    known = { at: pace.clock.now(), value };
    return value;
  };
  return () => {
    const age = pace.clock.now() - (known?.at ?? Number.NEGATIVE_INFINITY);
    if (known !== undefined && age >= 0 && age < pace.maxAgeMs) return Promise.resolve(known.value);
    asking ??= askAndKeep().finally(() => {
      asking = undefined;
    });
    return asking;
  };
}

interface Question {
  readonly url: string;
  readonly line: WebhookRequestLine;
  readonly body: string | undefined;
  readonly signal: AbortSignal | undefined;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  /** Whether the bytes are UTF-8; where not, `text` has other characters in their place and is for messages alone. */
  readonly isWellFormed: boolean;
}

async function ask(
  options: WebhookClientOptions,
  connections: Agent | undefined,
  { url, line, body, signal }: Question,
): Promise<Answer> {
  const { timeoutMs, userAgent, bearerToken, ca, answerKeys = [] } = options;
  const question = answerKeys.length === 0 ? undefined : newQuestion(line, body ?? "");
  let token: string | undefined;
  let answer: HttpAnswer;
  try {
    token = await bearerToken?.();
    answer = await exchange({
      url,
      body,
      headers: {
        "user-agent": userAgent,
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(question === undefined ? {} : questionHeaders(question)),
      },
      tls: ca === undefined ? undefined : { ca },
      connections,
      // A decision changes nothing at the webhook.
      repeatable: true,
      timeoutMs,
      maxAnswerBytes: MAX_ANSWER_BYTES,
      signal,
    });
  } catch (cause) {
    throw new GovernanceError(
      "webhook-unreachable",
      `auth api ${url} could not be asked (${errorChain(cause)}); this is no denial, try again`,
      { cause },
    );
  }
  if (question !== undefined) requireSigned(answerKeys, question, answer, url);
  const text = Buffer.from(answer.body).toString("utf8");
  // A server that repeats what it was shown must not bring it into errors and logs.
  const shown = token === undefined ? text : text.replaceAll(token, "\u2026");
  return { status: answer.status, text: shown, isWellFormed: isUtf8(answer.body) };
}

function readDecision(answer: Answer, url: string): WebhookDecision {
  const { isAllowed, gatewayAppId, reason, rule, field } = readJson(answer, url);
  if (typeof isAllowed !== "boolean" || typeof gatewayAppId !== "string" || typeof reason !== "string")
    throw undecodable(answer, url);
  if (isAllowed) return { kind: "allowed", gatewayAppId };
  return {
    kind: "denied",
    reason: excerpt(reason, REASON),
    rule: typeof rule === "string" ? excerpt(rule) : undefined,
    field: typeof field === "string" ? excerpt(field) : undefined,
  };
}

function readInfo(answer: Answer, url: string): WebhookInfo {
  const { status, kmsContractAddr, gatewayAppId, chainId, appImplementation, ethRpcUrl, configError } = readJson(
    answer,
    url,
  );
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
    ethRpcUrl: typeof ethRpcUrl === "string" ? excerpt(ethRpcUrl, REASON) : "",
    configError: typeof configError === "string" ? excerpt(configError) : "",
  };
}

function readJson(answer: Answer, url: string): Record<string, unknown> {
  if (answer.status < 200 || answer.status >= 300)
    throw new GovernanceError(
      "webhook-answer-invalid",
      `auth api ${url} returned ${answer.status}: ${excerpt(answer.text)}`,
    );
  if (!answer.isWellFormed) throw undecodable(answer, url);
  try {
    const json: unknown = parseJson(answer.text, "answer");
    if (typeof json === "object" && json !== null) return json as Record<string, unknown>;
  } catch (cause) {
    throw undecodable(answer, url, cause);
  }
  throw undecodable(answer, url);
}

const undecodable = ({ status, text }: Answer, url: string, cause?: unknown): GovernanceError =>
  new GovernanceError(
    "webhook-answer-invalid",
    `failed to decode response from ${url}, status=${status}, body=${excerpt(text)}`,
    { cause },
  );
