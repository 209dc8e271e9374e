import assert from "node:assert/strict";
import { test } from "node:test";
import { KmsError } from "../src/errors.ts";
import type { WebhookDecision } from "@dstack/governance";
import type { AuthApi } from "../src/release/auth-api.ts";
import type { SelfAttestation, SelfBootInfo } from "../src/self/self-attestation.ts";
import { selfAuthorization } from "../src/self/self-authorization.ts";

const ALLOWED: WebhookDecision = { kind: "allowed", gatewayAppId: "" };
const DENIED: WebhookDecision = { kind: "denied", reason: "gone", rule: undefined, field: undefined };
const unreachable = (): KmsError => new KmsError("auth-unreachable", "auth api could not be asked");

/** Asks a server that gives these answers in order. */
function subject(...answers: readonly (WebhookDecision | KmsError)[]) {
  const left = [...answers];
  const state = { now: 10_000, asked: [] as string[] };
  const self = {
    bootInfo: () => Promise.resolve({ json: { mrAggregated: "aa" } } as unknown as SelfBootInfo),
  } as SelfAttestation;
  const auth: AuthApi = {
    isDev: false,
    info: () => Promise.reject(unreachable()),
    bootAuth: async (kind, json) => {
      state.asked.push(`${kind} ${String(json["mrAggregated"])}`);
      const next = left.shift() ?? unreachable();
      if (next instanceof KmsError) throw next;
      return next;
    },
  };
  return { state, authorization: selfAuthorization({ self, auth, clock: { now: () => state.now } }) };
}

test("a permission counts for one second and no longer (DS #1311)", async () => {
  const { state, authorization } = subject(ALLOWED, ALLOWED);
  await authorization.require();
  state.now += 999;
  await authorization.require();
  assert.deepEqual(state.asked, ["kms aa"]);
  state.now += 1;
  await authorization.require();
  assert.equal(state.asked.length, 2);
});

test("a clock that was put back does not lengthen a permission", async () => {
  const { state, authorization } = subject(ALLOWED, DENIED);
  await authorization.require();
  state.now -= 5_000;
  await assert.rejects(authorization.require(), /KMS is not allowed: gone/);
});

test("a denial is not kept: the next call asks again, and an earlier permission is gone", async () => {
  const { state, authorization } = subject(ALLOWED, DENIED, DENIED, ALLOWED);
  await authorization.require();
  state.now += 1_000;
  for (let i = 0; i < 2; i++)
    await assert.rejects(
      authorization.require(),
      (error: unknown) =>
        error instanceof KmsError && error.code === "self-unauthorized" && error.message === "KMS is not allowed: gone",
    );
  await authorization.require();
  assert.equal(state.asked.length, 4);
});

test("an unreachable server is no denial, is not kept, and permits nothing", async () => {
  const { authorization } = subject(unreachable(), ALLOWED);
  await assert.rejects(
    authorization.require(),
    (error: unknown) =>
      error instanceof KmsError &&
      error.code === "auth-unreachable" &&
      error.message === "Failed to call self KMS auth check",
  );
  await authorization.require();
});

test("a denial names the rule and the field where the auth server does", async () => {
  const { authorization } = subject({ ...DENIED, rule: "kms.mrAggregated", field: "mrAggregated" });
  await assert.rejects(authorization.require(), {
    message: "KMS is not allowed: gone (rule kms.mrAggregated, field mrAggregated)",
  });
});

test("callers at one time share one question", async () => {
  const { state, authorization } = subject(ALLOWED);
  await Promise.all(Array.from({ length: 100 }, () => authorization.require()));
  assert.equal(state.asked.length, 1);
});
