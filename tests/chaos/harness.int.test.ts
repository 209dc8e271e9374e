/** The walk finds what it is for: each fault of a server that has it, and none in one that has none. */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { describe, test } from "node:test";
import type { Daemon } from "./daemon.ts";
import { startProcess } from "./daemon-process.ts";
import { walk, type Report } from "./walk.ts";
import { message } from "./wire-client.ts";

async function walked(fault: string): Promise<Report> {
  const process = await startProcess({
    main: "tests/chaos/toy-server.ts",
    args: [fault],
    cwd: tmpdir(),
    listeners: 1,
  });
  const [told] = process.listeners;
  const daemon: Daemon = {
    name: `a server that ${fault}`,
    process,
    listeners: [
      {
        ...told!,
        name: "its listener",
        place: { port: Number(told!.address.split(":").at(-1)) },
        reach: "stranger",
        probe: message("GET", "/health"),
      },
    ],
    deep: [],
    upstreams: [],
    close: () => Promise.resolve(),
  };
  try {
    return await walk(daemon, { stranger: 20, token: 5, settleMs: 1_500 });
  } finally {
    await process.stop(500);
  }
}

const FAULTS: Readonly<Record<string, RegExp>> = {
  rejects: /ended with 1:[^]*a promise that nobody held/,
  "outlives a rejection": /said that nobody handled something/,
  throws: /ended with 1:[^]*in an event/,
  hangs: /does not answer \(.*no answer within/,
  "leaks descriptors": /keeps \d+ descriptors after/,
  "leaks memory": /keeps [\d.]+ MiB of heap after/,
  "hides a route": /PATCH \/hidden was not reached/,
  "stops badly": /3 !== 0|ended with 3/,
};

describe("the walk", { concurrency: 3 }, () => {
  test("nothing is wrong with a server without a fault", { timeout: 120_000 }, async (context) => {
    context.diagnostic((await walked("is sound")).text);
  });

  for (const [fault, expected] of Object.entries(FAULTS)) {
    test(`a server that ${fault} is found`, { timeout: 120_000 }, async () => {
      await assert.rejects(walked(fault), (error: Error) => {
        assert.match(error.message, expected);
        return true;
      });
    });
  }
});
