/** The walk of `npm test` over every daemon, with thousands of requests for each stage. */
import { EVERY_DAEMON } from "./every-daemon.ts";
import { walkTest } from "./walk-test.ts";

for (const [name, { start }] of Object.entries(EVERY_DAEMON))
  walkTest(name, start, { stranger: 200, token: 40, settleMs: 60_000 }, 900_000);
