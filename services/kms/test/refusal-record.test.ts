/** What a flood of refused requests for the root keys may cost the disk, and that nobody asks unseen behind it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditEntry, AuditLog } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";
import { RefusalRecord } from "../src/release/refusal-record.ts";

const log = createLogger({ name: "test", stream: { write: () => true } });

function record(): { lines: AuditEntry[]; ask: (remoteAddress: string) => Promise<void> } {
  const lines: AuditEntry[] = [];
  const append = (entry: AuditEntry): Promise<void> => {
    lines.push(entry);
    return Promise.resolve();
  };
  const refusals = new RefusalRecord({ audit: { append } as AuditLog, clock: { now: () => 0 }, log });
  const entry = { action: "GetKmsKey", reason: "none", rule: "evidence", field: "certificate", requestId: "r" };
  return { lines, ask: (remoteAddress) => refusals.write("refused", { ...entry, remoteAddress }) };
}

test("10,000 networks of a minute leave 1,200 lines, those of one /48 leave 120, and the rest one line at its end", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { lines, ask } = record();
  for (let i = 0; i < 5_000; i++) await ask(`2001:db8:7:${i.toString(16)}::1`);
  assert.equal(lines.length, 120);
  for (let i = 0; i < 5_000; i++) await ask(`2001:db9:${i.toString(16)}::1`);
  assert.equal(lines.length, 1_200);
  t.mock.timers.tick(60_000);
  const summaries = lines.slice(1_200);
  assert.deepEqual(
    summaries.map(({ action, outcome, rule }) => [action, outcome, rule]),
    [["GetKmsKey", "refused", "audit-budget"]],
  );
  const counted = lines.reduce((sum, line) => sum + Number(line["suppressed"] ?? 0), 0);
  assert.equal(counted, 10_000 - 1_200, "what has no line is counted");
  assert.equal((summaries[0]!["suppressedFrom"] as unknown[]).length, 20);
});

test("after a flood from one network the first request of every other one still has its line", async () => {
  const { lines, ask } = record();
  for (let i = 0; i < 9; i++) for (let n = 0; n < 200; n++) await ask(`2001:db8:${i}:${n}::1`);
  assert.equal(lines.length, 1_000);
  await ask("2001:db8:ffff::1");
  await ask("192.0.2.7");
  await ask("192.0.2.7");
  assert.deepEqual(
    lines.slice(1_000).map((line) => line["remoteAddress"]),
    ["2001:db8:ffff::1", "192.0.2.7"],
  );
});
