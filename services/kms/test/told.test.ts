import assert from "node:assert/strict";
import { test } from "node:test";
import { AuditLogError } from "@dstack/audit-log";
import { errorChain } from "@dstack/errors";
import { RpcError } from "@dstack/rpc";
import { KmsError } from "../src/errors.ts";
import { told } from "../src/release/told.ts";

const text = (error: Error): string => errorChain(told(error));

test("who asks is told neither paths of this machine nor those of its auth server", () => {
  const cause = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  const audit = new AuditLogError(
    "audit-unwritable",
    "audit log /etc/kms/certs/audit.jsonl cannot be written, so nothing is released; make room or repair the file",
    { cause },
  );
  assert.equal(
    text(new RpcError("handler-failed", "App not allowed", { cause: audit })),
    "App not allowed: audit log audit.jsonl cannot be written, so nothing is released; make room or repair the file: ENOSPC: no space left on device, write",
  );
  for (const [said, expected] of [
    [
      "auth api https://user:pw@auth.example:8443/hooks/T0KEN/bootAuth/app returned 500: oops",
      "auth api https://auth.example:8443/\u2026 returned 500: oops",
    ],
    ["auth api http://auth-api:8000/ does not answer", "auth api http://auth-api:8000/\u2026 does not answer"],
    ["guest agent unix:/var/run/dstack/dstack.sock: no answer", "guest agent unix:dstack.sock: no answer"],
    ["open '/run/secrets/token'", "open 'token'"],
  ] as const) {
    assert.equal(text(new KmsError("auth-unreachable", said)), expected);
  }
});

test("a decision, and what is wrong with a request, is told word for word", () => {
  for (const error of [
    new RpcError("handler-failed", "App not allowed", {
      cause: new Error("Boot denied: see https://example.com/policy/7 and /etc/x/y (rule apps, field appId)"),
    }),
    new KmsError("self-unauthorized", "KMS is not allowed: see https://example.com/policy/7"),
    new RpcError("bad-request", "Unsupported API version: 7"),
  ])
    assert.equal(told(error), error);
});

test("the code of an answer stays", () => {
  const answered = told(new RpcError("unauthenticated", "x", { cause: new KmsError("agent-unavailable", "/a/b") }));
  assert.ok(answered instanceof RpcError && answered.code === "unauthenticated");
});
