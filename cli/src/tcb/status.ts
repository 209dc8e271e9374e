import { existsSync } from "node:fs";
import { describeTarget, parseQuote, type TcbShortfall, type TcbTarget } from "@dstack/attest";
import { platformOf, type TcbIssue } from "@dstack/attest/node";
import { toHex } from "@dstack/bytes";
import type { Cli } from "../clients/cli.ts";
import { readInput } from "../evidence/inputs.ts";
import { appUrl } from "../local/app-url.ts";
import { CliError } from "../terminal/errors.ts";
import { table, visible } from "../terminal/output.ts";
import { isLocal, openContext, collateralServers } from "../verify/open-context.ts";
import { parseUrl } from "../verify/verify.ts";
import { quotesAt, quotesInFile, type FoundQuote } from "./find-quotes.ts";
import { judgeIssue, type IssueVerdict } from "./judge-issue.ts";
import type { TcbStatusOptions } from "./options.ts";

type JudgePlatformsOptions = Omit<TcbStatusOptions, "output">;

export interface PlatformVerdict {
  readonly name: string;
  readonly tee: "sgx" | "tdx";
  /** Hex; undefined where the quote names its platform only in encrypted form. */
  readonly fmspc: string | undefined;
  readonly issues: readonly IssueVerdict[];
}

/** `dstack tcb status`: exit code 0 where every issue accepts the platform, 3 where one does not, 1 where one cannot be had. */
export async function tcbStatus(cli: Cli, what: string | undefined, options: TcbStatusOptions): Promise<number> {
  const platforms = await judgePlatforms(cli, what, options);
  if (options.output === "json") cli.out.json(toJson(platforms));
  else cli.out.print(platforms.map(textOf).join("\n\n"));
  const all = platforms.flatMap(({ issues }) => issues.map(({ ok }) => ok));
  return all.includes(false) ? 3 : all.includes(undefined) ? 1 : 0;
}

/**
 * The platforms under `what`, or under the first app of this machine, by each issue that the options ask for.
 * @throws CliError where nothing shows a platform
 */
export async function judgePlatforms(
  cli: Cli,
  what: string | undefined,
  options: JudgePlatformsOptions,
): Promise<readonly PlatformVerdict[]> {
  const { found, local } = await find(cli, what, options);
  const { context } = await openContext(cli, options, { local });
  const endpoints = collateralServers(cli.layout, cli.env, local, options.pccs);
  const issues: TcbIssue[] = ["standard", ...(options.early ? ["early" as const] : []), ...options.evaluation];
  const platforms: PlatformVerdict[] = [];
  for (const { name, quote: bytes } of found) {
    const quote = parseQuote(bytes);
    const platform = platformOf(quote);
    const verdicts: IssueVerdict[] = [];
    for (const issue of issues) verdicts.push(await judgeIssue({ bytes, quote, context, endpoints }, issue));
    platforms.push({
      name,
      tee: platform.tee,
      fmspc: platform.kind === "known" ? platform.pck.fmspc.toLowerCase() : undefined,
      issues: verdicts,
    });
  }
  return platforms;
}

async function find(
  cli: Cli,
  what: string | undefined,
  { cacert }: JudgePlatformsOptions,
): Promise<{ readonly found: readonly FoundQuote[]; readonly local: boolean }> {
  const { layout } = cli;
  const at = async (url: URL): Promise<{ found: readonly FoundQuote[]; local: boolean }> => {
    const local = isLocal(layout, url);
    // The deployment's own authority; there is none where the VMM is another machine's.
    const own = `${layout.caFolder}/ca.crt`;
    return { found: await quotesAt(url, cacert ?? (local && existsSync(own) ? own : undefined)), local };
  };
  if (what === undefined) return at(await firstApp(cli));
  if (what.startsWith("https://")) return at(parseUrl(what));
  if (existsSync(what)) return { found: quotesInFile(await readInput(what), what), local: false };
  return at(new URL(appUrl(layout, (await (await cli.vmm()).find(what)).appId, 80)));
}

/** All guests of a machine are on the same platform. */
async function firstApp(cli: Cli): Promise<URL> {
  const running = (await (await cli.vmm()).list()).find(({ status }) => status === "running");
  if (running === undefined)
    throw new CliError("not-found", "no app runs on this machine, whose evidence would show its platform", {
      hint: "dstack tcb status QUOTE, or the URL of an app or a KMS",
    });
  return new URL(appUrl(cli.layout, running.appId, 80));
}

/** "today", "early", "evaluation 20". */
export const issueName = (issue: TcbIssue): string =>
  typeof issue === "number" ? `evaluation ${issue}` : issue === "standard" ? "today" : "early";

const dateOf = (unixSeconds: number | undefined): string =>
  unixSeconds === undefined ? "" : new Date(unixSeconds * 1000).toISOString().slice(0, 10);

function textOf({ name, tee, fmspc, issues }: PlatformVerdict): string {
  const ppid = issues.find((verdict) => verdict.ppid !== undefined)?.ppid;
  const rows = issues.map(({ issue, ok, evaluation, issued, status, advisoryIds }) => [
    issueName(issue),
    evaluation === undefined ? "" : String(evaluation),
    dateOf(issued),
    status ?? "",
    ok === undefined ? "not known" : ok ? "accepted" : "NOT accepted",
    advisoryIds.join(" "),
  ]);
  return [
    `${visible(name)}: ${tee.toUpperCase()} platform${ppid === undefined ? "" : ` ${toHex(ppid)}`}, FMSPC ${fmspc ?? "not in the quote"}`,
    "",
    table(["BY", "EVALUATION", "ISSUED", "STATUS", "VERDICT", "ADVISORIES"], rows),
    ...issues.flatMap(notes),
  ].join("\n");
}

function notes({ issue, reason, shortfall, relaunchAdvised }: IssueVerdict): readonly string[] {
  const lines = [
    ...(reason === undefined ? [] : [reason]),
    ...(relaunchAdvised ? ["the platform is updated already: start the VM again to show it"] : []),
    ...(shortfall === undefined ? [] : [...new Set([shortfall.nearest, shortfall.best].map(describeTarget))]),
  ];
  return lines.length === 0 ? [] : ["", `${issueName(issue)}:`, ...lines.map((line) => `  ${visible(line)}`)];
}

function toJson(platforms: readonly PlatformVerdict[]): unknown {
  return {
    ok: platforms.every(({ issues }) => issues.every(({ ok }) => ok === true)),
    platforms: platforms.map(({ name, tee, fmspc, issues }) => ({
      name,
      tee,
      fmspc: fmspc ?? null,
      issues: issues.map((verdict) => ({
        issue: verdict.issue,
        ok: verdict.ok ?? null,
        server: verdict.server ?? null,
        evaluation: verdict.evaluation ?? null,
        issued: verdict.issued === undefined ? null : new Date(verdict.issued * 1000).toISOString(),
        status: verdict.status ?? null,
        ppid: verdict.ppid === undefined ? null : toHex(verdict.ppid),
        advisory_ids: verdict.advisoryIds,
        relaunch_advised: verdict.relaunchAdvised,
        reason: verdict.reason ?? null,
        shortfall: verdict.shortfall === undefined ? null : shortfallJson(verdict.shortfall),
      })),
    })),
  };
}

const shortfallJson = ({ nearest, best }: TcbShortfall): unknown => ({
  nearest: targetJson(nearest),
  best: targetJson(best),
});

const targetJson = ({ status, tcbDate, short }: TcbTarget): unknown => ({
  status,
  tcb_date: tcbDate,
  short: short.map(({ part, index, has, needs, update }) => ({ part, index: index ?? null, has, needs, update })),
});
