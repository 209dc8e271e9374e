import assert from "node:assert/strict";
import { test } from "node:test";
import { createCli } from "../src/clients/cli.ts";
import { openContext } from "../src/verify/open-context.ts";

test("a check that no verdict needs cannot be accepted: nobody would notice the misspelling", async () => {
  const cli = createCli({ XDG_STATE_HOME: "/nonexistent", XDG_CACHE_HOME: "/nonexistent" });
  await assert.rejects(openContext(cli, { accept: ["tbc"] }, { local: false }), {
    code: "usage",
    message: "--accept tbc: no verdict needs such a check",
  });
  await openContext(cli, { accept: ["tcb", "tls-key"] }, { local: false });
});
