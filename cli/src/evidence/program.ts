/**
 * Evidence in files, taken apart.
 * In: one file of bounded size: a quote, an attestation, a certificate, an event log, an agent's answer.
 * Out: every field of it, or the registers that a log replays to.
 * Never: the network is asked, or a field is called verified: anybody can write them.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { evidenceCommand, evidenceDecodeCommand, evidenceReplayCommand } from "./options.ts";

export function addEvidenceCommands(program: Parent, cli: Cli): void {
  const evidence = evidenceCommand(program);
  evidenceDecodeCommand(evidence).action(async (file, options) => {
    cli.exit.code = await (await import("./decode.ts")).evidenceDecode(cli, file, options);
  });
  evidenceReplayCommand(evidence).action(async (file, options) => {
    cli.exit.code = await (await import("./replay.ts")).evidenceReplay(cli, file, options);
  });
}
