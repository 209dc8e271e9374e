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
