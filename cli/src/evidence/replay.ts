import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { judgedFile } from "./judged-file.ts";
import type { EvidenceReplayOptions } from "./options.ts";
import { readEventLog } from "./read-event-log.ts";
import { replayEventLog } from "./replay-event-log.ts";
import { replayText } from "./replay-text.ts";

/** `dstack evidence replay`: exit code 0, or 3 where the log is refused or a check fails. */
export function evidenceReplay(cli: Cli, file: string, { output }: EvidenceReplayOptions): Promise<number> {
  return judgedFile(cli, file, output, (bytes) => {
    const log = readEventLog(bytes);
    if (log === undefined) {
      throw new CliError("failed", `${file} holds no event log`, {
        hint: "give an event log, an agent's GetQuote or Info answer, tcb_info, or an attestation",
      });
    }
    const result = replayEventLog(log);
    if (output === "json") cli.out.json(result);
    else cli.out.print(replayText(result));
    return result.ok ? 0 : 3;
  });
}
