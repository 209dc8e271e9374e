import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "@dstack/log";
import { hostApiHandler, type HostApiOptions } from "../src/api/host-api.ts";
import type { Vm } from "../src/vm/vm.ts";

test("a guest's words are not logged in proportion to what it sends", async () => {
  let logged = "";
  const log = createLogger({ name: "test", level: "debug", stream: { write: (line: string) => (logged += line) } });
  const vm = { id: "vm-1", events: [], notifyWindow: { startedMs: 0, count: 0 } } as unknown as Vm;
  const options = { config: { eventBufferSize: 4 }, log, clock: Date } as unknown as HostApiOptions;
  const handle = hostApiHandler(vm, options);
  for (const event of ["x".repeat(256), "instance.info", "boot.progress"]) {
    const answer = await handle("/api/Notify", { event, payload: "\u001b".repeat(4_000) }, AbortSignal.timeout(5_000));
    assert.equal(answer.status, 200, JSON.stringify(answer.json));
  }
  assert.ok(logged.includes("guest event") && logged.includes("not kept"));
  for (const line of logged.trimEnd().split("\n"))
    assert.ok(line.length < 2_000, `${line.length} characters in a line`);
});
