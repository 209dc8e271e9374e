import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import { checkLines } from "./report.ts";
import { readAnchor, readInput, readPolicy, readTime } from "../evidence/inputs.ts";
import type { VerifyQuoteOptions } from "./options.ts";
import { verifyQuoteFile, type QuoteResult } from "./judge-quote.ts";

/** `dstack verify quote`: exit code 0 when every check passes, 3 otherwise. */
export async function verifyQuote({ out }: Cli, options: VerifyQuoteOptions): Promise<number> {
  const result = verifyQuoteFile({
    quote: await readInput(options.quote),
    collateral: await readInput(options.collateral),
    now: readTime(options.time),
    trustAnchor: await readAnchor(options.root),
    tcbRules: options.tcbRules,
    policy: await readPolicy(options.policy),
  });
  if (options.output === "json") out.json(result);
  else out.print(textOf(result));
  return result.ok ? 0 : 3;
}

function textOf(result: QuoteResult): string {
  const verdict = result.ok
    ? `verified: ${result.status}${result.advisory_ids.length === 0 ? "" : `, advisories ${result.advisory_ids.join(" ")}`}; platform ${result.platform_status}, QE ${result.qe_status}, TCB of ${result.tcb_date}`
    : `NOT verified: ${visible(failureOf(result))}`;
  const platform = result.ok
    ? [
        `  FMSPC ${result.fmspc}, PPID ${result.ppid}${result.relaunch_advised ? "; start the VM again to prove the newer TCB" : ""}`,
        `  good until ${result.good_until}: then a document or certificate ends`,
      ]
    : [];
  const shown = [
    "tee",
    "version",
    "report_data",
    "mr_td",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "mr_enclave",
    "mr_signer",
  ].filter((name) => name in result.fields);
  return [
    ...checkLines(result.checks),
    "",
    `  ${verdict}`,
    ...platform,
    "",
    ...shown.map((name) => `  ${name.padEnd(12)} ${visible(String(result.fields[name]))}`),
  ].join("\n");
}

function failureOf({ checks }: QuoteResult): string {
  const failed = checks.find(({ result }) => result === "fail");
  return failed === undefined ? "no check passed" : `${failed.name}: ${failed.reason}`;
}
