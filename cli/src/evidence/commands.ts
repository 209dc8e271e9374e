import { open } from "node:fs/promises";
import { CliError } from "../terminal/errors.ts";
import { describeEvidence } from "./describe.ts";
import { fieldLines } from "./field-lines.ts";
import { readEvidence } from "./read-evidence.ts";
import { readEventLog } from "./read-event-log.ts";
import { isRefusal, refusalOf } from "./refusal.ts";
import { replayEventLog } from "./replay-event-log.ts";
import { replayText } from "./replay-text.ts";
import { print, printJson, say, visible, type OutputFormat } from "../terminal/output.ts";

/** More than any attestation or log that a reader takes. */
const MAX_FILE_BYTES = 24 * 1024 * 1024;

/** `dstack evidence decode`: exit code 0, or 3 where the file is refused. */
export function decode(file: string, format: OutputFormat): Promise<number> {
  return judged(file, format, (bytes) => {
    const evidence = readEvidence(bytes);
    if (evidence === undefined) {
      throw new CliError("failed", `${file} is not a quote, an attestation, a certificate or a certificate request`, {
        hint: "the content decides, not the name; for event logs use dstack evidence replay",
      });
    }
    const fields = describeEvidence(evidence);
    if (format === "json") {
      printJson({ ok: true, kind: evidence.kind, fields });
    } else {
      print([`kind: ${evidence.kind}`, ...fieldLines(fields)].join("\n"));
      say("Decoded, not verified: anybody can write these fields.");
    }
    return 0;
  });
}

/** `dstack evidence replay`: exit code 0, or 3 where the log is refused or a check fails. */
export function replay(file: string, format: OutputFormat): Promise<number> {
  return judged(file, format, (bytes) => {
    const log = readEventLog(bytes);
    if (log === undefined) {
      throw new CliError("failed", `${file} holds no event log`, {
        hint: "give an event log, an agent's GetQuote or Info answer, tcb_info, or an attestation",
      });
    }
    const result = replayEventLog(log);
    if (format === "json") printJson(result);
    else print(replayText(result));
    return result.ok ? 0 : 3;
  });
}

/** Runs a command on a file's bytes; what a reader refuses is its outcome, with the reader's stable code. */
async function judged(file: string, format: OutputFormat, run: (bytes: Uint8Array) => number): Promise<number> {
  const bytes = await readBounded(file);
  try {
    return run(bytes);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const refusal = refusalOf(error);
    if (format === "json") printJson({ ok: false, ...refusal });
    else say(`refused: ${visible(refusal.reason)}`);
    return 3;
  }
}

async function readBounded(file: string): Promise<Uint8Array> {
  const handle = await open(file, "r").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") throw new CliError("not-found", `${file} does not exist`);
    throw cause;
  });
  try {
    const { size } = await handle.stat();
    if (size > MAX_FILE_BYTES) throw new CliError("failed", `${file} has ${size} bytes, limit ${MAX_FILE_BYTES}`);
    return new Uint8Array(await handle.readFile());
  } finally {
    await handle.close();
  }
}
