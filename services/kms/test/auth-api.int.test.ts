import assert from "node:assert/strict";
import { test } from "node:test";
import { excerpt, webhookAuthApi, type AuthApi } from "../src/release/auth-api.ts";
import { KmsError } from "../src/errors.ts";

interface Scripted {
  readonly auth: AuthApi;
  readonly calls: { readonly url: string; readonly body: string | undefined }[];
  now: number;
}

/** A webhook that gives these answers in order; a function may do anything. */
function scripted(...answers: readonly (string | Response | (() => Promise<Response>))[]): Scripted {
  const calls: Scripted["calls"] = [];
  const left = [...answers];
  const out: Scripted = { calls, now: 0, auth: undefined as never };
  const fetch = ((url: string, init: RequestInit): Promise<Response> => {
    calls.push({ url, body: init.body as string | undefined });
    const next = left.shift() ?? "{}";
    if (typeof next === "function") return next();
    return Promise.resolve(typeof next === "string" ? new Response(next) : next);
  }) as typeof globalThis.fetch;
  return Object.assign(out, { auth: webhookAuthApi({ url: "http://auth:8000//", timeoutMs: 200, userAgent: "dstack-kms/0.6.0", clock: { now: () => out.now }, fetch }) });
}

const { signal } = new AbortController();
const boot = (script: Scripted, kind: "app" | "kms" = "app") => script.auth.bootAuth(kind, { appId: "11" }, signal);
const failure = async (run: Promise<unknown>): Promise<KmsError> => {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof KmsError, String(error));
    return error;
  }
  throw new Error("accepted");
};
const ALLOW = '{"isAllowed":true,"reason":"","gatewayAppId":"gw"}';

test("asks at the path of the kind, with one slash, and keeps no decision", async () => {
  const script = scripted(ALLOW, '{"isAllowed":false,"reason":"no","gatewayAppId":"","rule":"apps","field":"appId"}', ALLOW);
  assert.deepEqual(await boot(script), { kind: "allowed", gatewayAppId: "gw" });
  assert.deepEqual(await boot(script), { kind: "denied", reason: "no", rule: "apps", field: "appId" });
  await boot(script, "kms");
  assert.deepEqual(script.calls.map(({ url }) => url), ["http://auth:8000/bootAuth/app", "http://auth:8000/bootAuth/app", "http://auth:8000/bootAuth/kms"]);
  assert.equal(script.calls[0]!.body, '{"appId":"11"}');
});

test("an answer that lacks a key, is no JSON or not 2xx is an error, never a permission", async () => {
  for (const answer of ["", "null", "[]", "true", '{"isAllowed":true}', '{"isAllowed":"true","reason":"","gatewayAppId":""}', '{"isAllowed":true,"reason":"","gatewayAppId":null}', "<html>"]) {
    const error = await failure(boot(scripted(answer)));
    assert.equal(error.code, "auth-answer-invalid", answer);
    assert.match(error.message, /^failed to decode response from http:\/\/auth:8000\/bootAuth\/app, status=200, body=/);
  }
  assert.match((await failure(boot(scripted(new Response("boom", { status: 500 }))))).message, /^auth api http:\/\/auth:8000\/bootAuth\/app returned 500: boom$/);
  assert.equal((await failure(boot(scripted(new Response(ALLOW, { status: 403 }))))).code, "auth-answer-invalid");
});

test("an endless answer and one that never comes end, and are no denial", async () => {
  const endless = new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(16_384)) }));
  assert.match((await failure(boot(scripted(endless)))).message, /exceeds 65536 bytes/);
  const never = (): Promise<Response> => new Promise((_resolve, reject) => setTimeout(() => reject(new Error("aborted")), 400));
  const error = await failure(boot(scripted(never)));
  assert.equal(error.code, "auth-unreachable");
  assert.match(error.message, /no answer within 200 ms.*no denial/);
});

test("an error text is cut between characters, and control characters go (DS #1278)", async () => {
  const text = `${"a".repeat(511)}é tail`;
  assert.equal(excerpt(text), "a".repeat(511));
  assert.equal(Buffer.byteLength(excerpt("😀".repeat(200))), 512);
  assert.equal(excerpt("a\nb\u001b[31mc\u2028"), "a b [31mc ");
  assert.match((await failure(boot(scripted(new Response(`${"a".repeat(511)}é`, { status: 502 }))))).message, /: a{511}$/);
});

test("information is asked once a second, together for all who ask, and errors are not kept (DS #1311)", async () => {
  const info = '{"status":"ok","kmsContractAddr":"0x","gatewayAppId":"gw","chainId":1,"appImplementation":"0x"}';
  const script = scripted(info, info, '{"status":"ok"}', info);
  const [first, second] = await Promise.all([script.auth.info(), script.auth.info()]);
  assert.deepEqual([first, second.chainId], [second, 1n]);
  await script.auth.info();
  assert.equal(script.calls.length, 1);
  script.now = 1_000;
  await script.auth.info();
  script.now = 2_000;
  await failure(script.auth.info());
  await script.auth.info();
  assert.equal(script.calls.length, 4);
});
