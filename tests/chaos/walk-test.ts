import { test } from "node:test";
import type { Daemon } from "./daemon.ts";
import { walk, type Times } from "./walk.ts";

/** One test: a daemon is started, walked over and ended. */
export function walkTest(name: string, start: () => Promise<Daemon>, times: Times, timeoutMs = 240_000): void {
  test(
    `${name} lives through every cut, answers the next and keeps nothing`,
    { timeout: timeoutMs },
    async (context) => {
      const daemon = await start();
      try {
        context.diagnostic((await walk(daemon, times)).text);
      } finally {
        await daemon.process.stop(1_000);
        await daemon.close();
      }
    },
  );
}
