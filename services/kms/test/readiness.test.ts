import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditLog } from "@dstack/audit-log";
import { KmsError } from "../src/errors.ts";
import { readiness } from "../src/http/readiness.ts";
import type { AuthApi } from "../src/release/auth-api.ts";
import type { SelfAuthorization } from "../src/self/self-authorization.ts";

function subject() {
  const state = { now: 10_000, asked: 0, problems: [] as KmsError[], failure: undefined as string | undefined };
  const ask = async (): Promise<never> => {
    state.asked++;
    await new Promise((resolve) => setImmediate(resolve));
    const problem = state.problems[0];
    if (problem !== undefined) throw problem;
    return undefined as never;
  };
  const check = readiness({
    audit: { probe: () => Promise.resolve(state.failure) } as AuditLog,
    auth: { info: ask } as unknown as AuthApi,
    selfAuthorization: { require: ask } as unknown as SelfAuthorization,
    clock: { now: () => state.now },
  });
  return { state, check };
}

test("names the audit log, the auth server and the KMS's own permission where they keep keys back", async () => {
  const { state, check } = subject();
  assert.deepEqual(await check(), []);
  state.now += 1_000;
  state.failure = "disk full";
  state.problems = [new KmsError("self-unauthorized", "KMS is not allowed: gone")];
  assert.deepEqual(await check(), ["audit log: disk full", "KMS is not allowed: gone", "KMS is not allowed: gone"]);
});

test("asks the auth server once a second, however many ask and also while it refuses (DS #1311)", async () => {
  const { state, check } = subject();
  state.problems = [new KmsError("auth-unreachable", "no answer")];
  const answers = await Promise.all(Array.from({ length: 100 }, check));
  assert.ok(answers.every((problems) => problems.length === 2));
  await check();
  assert.equal(state.asked, 2);
  state.now += 1_000;
  await check();
  state.now -= 5_000;
  await check();
  assert.equal(state.asked, 6, "a clock that was put back makes no look younger");
});
