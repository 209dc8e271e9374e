import { holderOf } from "@dstack/files";
import type { Cli } from "../clients/cli.ts";
import { stopProcess } from "../local/managed-process.ts";
import { purge, stopEverything } from "./cleanup.ts";
import type { DownOptions } from "./options.ts";

const UP_STOPS_WITHIN_MS = 120_000;

/** `dstack down`: asks a running `dstack up` to end, then stops whatever is left; `--purge` deletes the data. */
export async function down(cli: Cli, options: DownOptions): Promise<void> {
  const { layout } = cli;
  const { say } = cli.out;
  const holder = holderOf(layout.lockFile);
  if (holder?.alive === true) {
    say(`stopping the local deployment (process ${holder.pid}) …`);
    await stopProcess(holder, UP_STOPS_WITHIN_MS);
  }
  await stopEverything(cli);
  if (options.purge === true) {
    await purge(layout);
    say("stopped; all state and cached images are deleted");
  } else {
    say(`stopped; data is kept in ${layout.state}`);
  }
}
