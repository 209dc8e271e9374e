import { examples, output, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of evidence in files are called with. */

export const evidenceCommand = (parent: Parent) => parent.command("evidence").summary("take evidence in files apart");

export const evidenceDecodeCommand = (parent: Parent) =>
  parent
    .command("decode <file>")
    .summary("print every field of a quote, attestation, certificate or certificate request")
    .description(
      "The file is recognised by its content: binary, hex, PEM, or an agent's JSON answer. Nothing in it is verified. Exit code 3 where it is refused.",
    )
    .addOption(output())
    .addHelpText("before", examples(["dstack evidence decode quote.bin", "dstack evidence decode cert.pem -o json"]));
export type EvidenceDecodeOptions = OptionsOf<typeof evidenceDecodeCommand>;

export const evidenceReplayCommand = (parent: Parent) =>
  parent
    .command("replay <file>")
    .summary("replay an event log to RTMR0 to RTMR3 and print what it claims")
    .description(
      "Takes an event log (JSON, CCEL, or the guest's own log), an agent's GetQuote or Info answer, tcb_info, or an attestation. Exit code 3 where a check fails, such as a log that does not replay to the quote beside it.",
    )
    .addOption(output())
    .addHelpText(
      "before",
      examples(["dstack evidence replay event_log.json", "dstack evidence replay tcb_info.json -o json"]),
    );
export type EvidenceReplayOptions = OptionsOf<typeof evidenceReplayCommand>;
