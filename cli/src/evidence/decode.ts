import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { describeEvidence } from "./describe.ts";
import { fieldLines } from "./field-lines.ts";
import { judgedFile } from "./judged-file.ts";
import type { EvidenceDecodeOptions } from "./options.ts";
import { readEvidence } from "./read-evidence.ts";

/** `dstack evidence decode`: exit code 0, or 3 where the file is refused. */
export function evidenceDecode(cli: Cli, file: string, { output }: EvidenceDecodeOptions): Promise<number> {
  const { json, print, say } = cli.out;
  return judgedFile(cli, file, output, (bytes) => {
    const evidence = readEvidence(bytes);
    if (evidence === undefined) {
      throw new CliError("failed", `${file} is not a quote, an attestation, a certificate or a certificate request`, {
        hint: "the content decides, not the name; for event logs use dstack evidence replay",
      });
    }
    const fields = describeEvidence(evidence);
    if (output === "json") {
      json({ ok: true, kind: evidence.kind, fields });
    } else {
      print([`kind: ${evidence.kind}`, ...fieldLines(fields)].join("\n"));
      say("Decoded, not verified: anybody can write these fields.");
    }
    return 0;
  });
}
