import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "@dstack/log";

function capture(isTTY: boolean): { log: ReturnType<typeof createLogger>; text: () => string } {
  let text = "";
  return {
    log: createLogger({ name: "t", stream: { isTTY, write: (line: string) => (text += line) } }),
    text: () => text,
  };
}

test("writes one JSON line per event", () => {
  const { log, text } = capture(false);
  log.info({ vm: "a" }, "started");
  const line = JSON.parse(text()) as Record<string, unknown>;
  assert.deepEqual([line["level"], line["name"], line["vm"], line["msg"]], ["info", "t", "a", "started"]);
});

test("never writes tokens and keys (SECURITY #568, D5 redaction)", () => {
  const { log, text } = capture(false);
  log.info({ token: "canary-1", request: { key: "canary-2", k256_key: "canary-3" } }, "x");
  assert.ok(!text().includes("canary"));
});

test("is readable on a terminal", () => {
  const { log, text } = capture(true);
  log.warn({ vm: "a" }, "slow");
  assert.match(text(), /^\d\d:\d\d:\d\d warn {2}t: slow vm=a\n$/);
});

test("one variable says how much, for all programs or for one; the reference's where it is not set", () => {
  const lines = (name: string, env: Record<string, string>, level?: string): string => {
    let text = "";
    const stream = { write: (line: string) => (text += line) };
    const log = createLogger({ name, env, stream, ...(level === undefined ? {} : { level }) });
    for (const each of ["error", "warn", "info", "debug", "trace"] as const) log[each](each);
    return [...text.matchAll(/"level":"(\w)/g)].map((match) => match[1]).join("");
  };
  assert.equal(lines("kms", {}), "ewi");
  assert.equal(lines("kms", { DSTACK_LOG_LEVEL: "debug" }), "ewid");
  assert.equal(lines("kms", { DSTACK_LOG_LEVEL: " Trace " }), "ewidt");
  assert.equal(lines("kms", { DSTACK_LOG_LEVEL: "off" }), "");
  assert.equal(lines("kms", { DSTACK_LOG_LEVEL: "warn,kms=debug" }), "ewid");
  assert.equal(lines("vmm", { DSTACK_LOG_LEVEL: "warn,kms=debug" }), "ew");
  assert.equal(lines("vmm", { DSTACK_LOG_LEVEL: "kms=debug" }), "ewi");
  assert.equal(lines("auth-eth", { DSTACK_LOG_LEVEL: "error,dstack_auth_eth=info" }), "ewi");
  assert.equal(lines("kms", { RUST_LOG: "info,certbot=debug" }), "ewi");
  assert.equal(lines("kms", { RUST_LOG: "debug" }, "error"), "ewid");
  assert.equal(lines("kms", { RUST_LOG: "debug", DSTACK_LOG_LEVEL: "error" }), "e");
  assert.equal(lines("kms", {}, "warn,certbot=debug"), "ew");
  assert.equal(
    lines("kms", { DSTACK_LOG_LEVEL: "loud", RUST_LOG: "" }),
    "ewi",
    "a word that is no level counts for nothing",
  );
});

test("a line that cannot be written, as on a full disk, ends nothing", () => {
  const log = createLogger({
    name: "t",
    stream: {
      write: () => {
        throw new Error("ENOSPC");
      },
    },
  });
  log.error("nobody hears this");
});
