import { parseJson } from "@dstack/bytes";
import { randomBytes } from "node:crypto";
import { exchange } from "@dstack/http";
import { comparable } from "./file-policy/auth-config.ts";
import type { BootInfo, BootKind } from "./boot-info.ts";
import { answerKey, newQuestion, questionHeaders, requireSigned, type AnswerBytes } from "./signed-answer.ts";

export interface ConformanceOptions {
  /** Base address of the webhook. */
  readonly url: string;
  /** A boot that the webhook's policy allows, which lets more behaviours be seen. */
  readonly allowed?: { readonly kind: BootKind; readonly boot: BootInfo } | undefined;
  readonly bearerToken?: string | undefined;
  /** The key that must sign, hex; without it the one that `GET /` tells, if it tells one. */
  readonly answerKey?: string | undefined;
}

export interface ConformanceResult {
  readonly behaviour: string;
  readonly result: "pass" | "fail" | "not applicable";
  readonly reason: string;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly json: unknown;
  readonly elapsedMs: number;
  readonly whole: AnswerBytes;
}

/** What a key server waits for at most. */
const DEADLINE_MS = 10_000;
const MAX_ANSWER_BYTES = 1024 * 1024;

/** Everything that a KMS relies on in a webhook, tried against a running one. Changes nothing there. */
export async function checkConformance({
  url,
  allowed,
  bearerToken,
  answerKey: pinned,
}: ConformanceOptions): Promise<ConformanceResult[]> {
  const base = url.replace(/\/+$/, "");
  const ask = async (path: string, body?: string, more: Readonly<Record<string, string>> = {}): Promise<Answer> => {
    const begun = performance.now();
    const answer = await exchange({
      url: `${base}${path}`,
      body,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(bearerToken === undefined ? {} : { authorization: `Bearer ${bearerToken}` }),
        ...more,
      },
      timeoutMs: DEADLINE_MS,
      maxAnswerBytes: MAX_ANSWER_BYTES,
    });
    return {
      status: answer.status,
      type: answer.headers["content-type"] ?? "",
      json: parsed(Buffer.from(answer.body).toString("utf8")),
      elapsedMs: performance.now() - begun,
      whole: answer,
    };
  };
  const boot = (kind: BootKind, request: object): Promise<Answer> => ask(`/bootAuth/${kind}`, JSON.stringify(request));
  const unknown = (): BootInfo => ({
    appId: hex(20),
    composeHash: hex(32),
    instanceId: hex(20),
    deviceId: hex(32),
    mrAggregated: hex(32),
    mrSystem: hex(32),
    osImageHash: hex(32),
    tcbStatus: "UpToDate",
    advisoryIds: [],
    teeVariant: "dstack-tdx",
  });
  const results: ConformanceResult[] = [];
  const check = async (behaviour: string, run: () => Promise<string | undefined>): Promise<void> => {
    try {
      const problem = await run();
      results.push({ behaviour, result: problem === undefined ? "pass" : "fail", reason: problem ?? "" });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
      results.push({
        behaviour,
        result: "fail",
        reason: `${error instanceof Error ? error.message : String(error)}${cause}`,
      });
    }
  };
  const onAllowed = async (
    behaviour: string,
    run: (kind: BootKind, request: BootInfo) => Promise<string | undefined>,
  ): Promise<void> => {
    if (allowed === undefined)
      results.push({ behaviour, result: "not applicable", reason: "no boot that is allowed was given" });
    else await check(behaviour, () => run(allowed.kind, allowed.boot));
  };

  await check("GET / tells about itself", async () => {
    const { status, json } = await ask("/");
    return status === 200
      ? wrongMembers(json, {
          status: "string",
          kmsContractAddr: "string",
          gatewayAppId: "string",
          chainId: "number",
          appImplementation: "string",
        })
      : `answered ${status}, expected 200`;
  });
  for (const kind of ["app", "kms"] as const) {
    await check(`an unknown ${kind} is denied with 200 and all three members`, async () =>
      denial(await boot(kind, unknown())),
    );
    await check(`a denied ${kind} gets a reason`, async () => {
      const { json } = await boot(kind, unknown());
      return (json as { reason?: unknown } | undefined)?.reason === "" ? "the reason is empty" : undefined;
    });
    await check(`a ${kind} request without its required members is 400`, async () =>
      malformed(await boot(kind, { mrAggregated: hex(32) })),
    );
    await check(`a ${kind} request that is no JSON is 400`, async () => malformed(await ask(`/bootAuth/${kind}`, "{")));
    await check(`a ${kind} request with members of another type is 400`, async () =>
      malformed(await boot(kind, { ...unknown(), appId: 7 })),
    );
  }
  await check("members that are not known are ignored", async () =>
    denial(
      await boot("app", {
        ...unknown(),
        attestationMode: "dstack-tdx",
        eventLog: [],
        keyProviderInfo: "",
        mrtd: hex(48),
      }),
    ),
  );
  await check("members that may be missing may be missing", async () => {
    const { tcbStatus: _status, advisoryIds: _ids, mrSystem: _system, teeVariant: _variant, ...required } = unknown();
    return denial(await boot("app", required));
  });
  await check("hex with 0x is taken like hex without", async () => {
    const request = unknown();
    const prefixed = Object.fromEntries(
      Object.entries(request).map(([key, value]) => [
        key,
        /^[0-9a-f]{40,}$/.test(String(value)) ? `0x${String(value)}` : value,
      ]),
    );
    return denial(await boot("app", prefixed));
  });
  await check("answers are JSON by their content type", async () => {
    const { type } = await boot("app", unknown());
    return /^application\/json\b/.test(type) ? undefined : `content-type is "${type}"`;
  });
  await check("a request with a long event log is taken", async () =>
    denial(await boot("app", { ...unknown(), eventLog: "x".repeat(1024 * 1024) })),
  );
  await check("20 requests at once are answered", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => boot("app", unknown())));
    return answers.map(denial).find((problem) => problem !== undefined);
  });
  await check("an answer comes before a key server gives up", async () => {
    const { elapsedMs } = await boot("kms", unknown());
    return elapsedMs < DEADLINE_MS / 2
      ? undefined
      : `took ${Math.round(elapsedMs)} ms, a key server waits ${DEADLINE_MS} ms`;
  });

  await onAllowed("the given boot is allowed, with an empty reason", async (kind, request) => {
    const { status, json } = await boot(kind, request);
    const { isAllowed, reason } = (json ?? {}) as { isAllowed?: unknown; reason?: unknown };
    return status === 200 && isAllowed === true && reason === ""
      ? undefined
      : `answered ${status} ${JSON.stringify(json)?.slice(0, 200)}`;
  });
  await onAllowed("spelling does not matter: upper case, with and without 0x", async (kind, request) => {
    const respelled = (spell: (digits: string) => string): object =>
      Object.fromEntries(
        Object.entries(request).map(([key, value]) => [
          key,
          typeof value === "string" && /^(0x)?[0-9a-f]{40,}$/i.test(value) ? spell(comparable(value).slice(2)) : value,
        ]),
      );
    for (const spell of [(digits: string) => digits.toUpperCase(), (digits: string) => `0x${digits}`]) {
      const { json } = await boot(kind, respelled(spell));
      if ((json as { isAllowed?: unknown } | undefined)?.isAllowed !== true)
        return `${spell("ab")}… is not taken like the other spelling`;
    }
    return undefined;
  });
  await onAllowed("every hash that decides is compared whole", async (kind, request) => {
    const fields =
      kind === "kms" ? (["osImageHash", "mrAggregated"] as const) : (["osImageHash", "composeHash", "appId"] as const);
    for (const field of fields) {
      const digits = comparable(request[field]).slice(2);
      const last = digits.endsWith("0") ? "1" : "0";
      for (const other of [
        hex(digits.length / 2),
        `${digits.slice(0, -1)}${last}`,
        digits.slice(0, -2),
        `00${digits}`,
        digits.slice(2),
        "",
      ]) {
        const { status, json } = await boot(kind, { ...request, [field]: other });
        if (status !== 400 && (json as { isAllowed?: unknown } | undefined)?.isAllowed !== false)
          return `${field} "${other.slice(0, 20)}…" of ${other.length / 2} bytes is allowed too`;
      }
    }
    return undefined;
  });
  await onAllowed("a platform that is revoked is denied", async (kind, request) => {
    const { json } = await boot(kind, { ...request, tcbStatus: "Revoked" });
    // Contracts may leave the status of an app's platform to the app.
    return kind === "app" || (json as { isAllowed?: unknown } | undefined)?.isAllowed === false
      ? undefined
      : "a KMS on a revoked platform is allowed";
  });

  const key = pinned ?? (await toldKey(ask));
  for (const { behaviour, run } of signedBehaviours({ ask, url: base, key, unknown })) {
    if (key === undefined)
      results.push({
        behaviour,
        result: "not applicable",
        reason: "no key was given, and GET / tells none (answerKey)",
      });
    else await check(behaviour, run);
  }
  return results;
}

const hex = (bytes: number): string => randomBytes(bytes).toString("hex");

function parsed(text: string): unknown {
  try {
    return parseJson(text, "answer");
  } catch {
    return undefined;
  }
}

function denial({ status, json }: Answer): string | undefined {
  if (status !== 200) return `answered ${status}, expected 200 with isAllowed false`;
  const wrong = wrongMembers(json, { isAllowed: "boolean", reason: "string", gatewayAppId: "string" });
  return wrong ?? ((json as { isAllowed: boolean }).isAllowed ? "is allowed" : undefined);
}

interface SignedBehaviour {
  readonly behaviour: string;
  /** A text says what is missing. */
  run(): Promise<string | undefined>;
}

/** What a key that is pinned in a key server's configuration relies on. */
function signedBehaviours({
  ask,
  url,
  key,
  unknown,
}: {
  readonly ask: (path: string, body?: string, headers?: Readonly<Record<string, string>>) => Promise<Answer>;
  readonly url: string;
  readonly key: string | undefined;
  readonly unknown: () => BootInfo;
}): SignedBehaviour[] {
  const signed = async (path: string, body?: string): Promise<Answer> => {
    const line = { method: body === undefined ? "GET" : "POST", path } as const;
    const question = newQuestion(line, body ?? "");
    const answer = await ask(path, body, questionHeaders(question));
    requireSigned([answerKey(key ?? "")], question, answer.whole, `${url}${path}`);
    return answer;
  };
  const boot = (): string => JSON.stringify(unknown());
  return [
    { behaviour: "GET / is signed for who sends a nonce", run: async () => statusOf(await signed("/"), 200) },
    ...(["app", "kms"] as const).flatMap((kind): SignedBehaviour[] => [
      {
        behaviour: `an answer about ${kind === "app" ? "an app" : "a KMS"} is signed for its nonce, its request, its status and its body`,
        run: async () => denial(await signed(`/bootAuth/${kind}`, boot())),
      },
      {
        behaviour: `a malformed ${kind} request gets a signed answer too`,
        run: async () => malformed(await signed(`/bootAuth/${kind}`, "{}")),
      },
    ]),
    {
      behaviour: "a request that was changed on its way is 400",
      run: async () => {
        const question = newQuestion({ method: "POST", path: "/bootAuth/app" }, boot());
        return malformed(await ask("/bootAuth/app", boot(), questionHeaders(question)));
      },
    },
    {
      behaviour: "who sends no nonce is answered as ever",
      run: async () => denial(await ask("/bootAuth/app", boot())),
    },
  ];
}

async function toldKey(ask: (path: string) => Promise<Answer>): Promise<string | undefined> {
  const { json } = await ask("/").catch(() => ({ json: undefined }));
  const told = (json as { readonly answerKey?: unknown } | undefined)?.answerKey;
  return typeof told === "string" ? told : undefined;
}

const statusOf = ({ status }: Answer, expected: number): string | undefined =>
  status === expected ? undefined : `answered ${status}, expected ${expected}`;

const malformed = ({ status }: Answer): string | undefined =>
  status === 400 ? undefined : `answered ${status}, expected 400`;

function wrongMembers(json: unknown, members: Readonly<Record<string, string>>): string | undefined {
  if (typeof json !== "object" || json === null) return "is no JSON object";
  const wrong = Object.entries(members).filter(
    ([name, type]) => typeof (json as Record<string, unknown>)[name] !== type,
  );
  return wrong.length === 0 ? undefined : `${wrong.map(([name, type]) => `${name} is no ${type}`).join(", ")}`;
}
