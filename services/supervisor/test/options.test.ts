import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createLogger } from "@dstack/log";
import { readOptions } from "../src/options.ts";

let said = "";
const log = createLogger({ name: "t", stream: { write: (text: string) => (said += text) } });

test("serves where --uds, --address or the file says", async () => {
  assert.equal((await readOptions(["--uds", "/run/a.sock"], log)).socketPath, "/run/a.sock");
  assert.equal((await readOptions(["-a", "unix:/run/b.sock"], log)).socketPath, "/run/b.sock");
  const file = join(await mkdtemp(join(tmpdir(), "dstack-supervisor-")), "supervisor.toml");
  await writeFile(file, '[default]\naddress = "unix:/run/c.sock"\nlog_level = "normal"\n');
  said = "";
  assert.equal((await readOptions(["-c", file], log)).socketPath, "/run/c.sock");
  assert.match(said, /default\.log_level.*DSTACK_LOG_LEVEL/);
});

test("a path that is empty, which would be the working folder, is refused by name", async () => {
  for (const [args, why] of [
    [["--uds", ""], /address "unix:": expected/],
    [["-a", "unix:"], /address "unix:": expected/],
    [["-a", ""], /address "": expected/],
    [["--uds", "/run/a.sock", "--pid-file", ""], /--pid-file: the path is empty/],
    [["--uds", "/run/a.sock", "--log-file", ""], /--log-file: the path is empty/],
    [["-a", "127.0.0.1:80"], /only a Unix socket is served/],
  ] as const)
    await assert.rejects(readOptions(args, log), { code: "unusable-option", message: why }, args.join(" "));
});
