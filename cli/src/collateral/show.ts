import { toHex } from "@dstack/bytes";
import type { CheckedCollateral } from "@dstack/attest";
import { checkCollateral } from "@dstack/attest/node";
import type { Cli } from "../clients/cli.ts";
import { readAnchor, readTime } from "../evidence/inputs.ts";
import { table, visible } from "../terminal/output.ts";
import type { CollateralShowOptions } from "./options.ts";
import { readCollateralFile } from "./read-files.ts";

/** `dstack collateral show`: exit code 0 when nothing fails, 3 where something does, 1 where something ends within `--min-days`. */
export async function collateralShow({ out }: Cli, file: string, options: CollateralShowOptions): Promise<number> {
  const checked = checkCollateral(await readCollateralFile(file), await readAnchor(options.root));
  const now = readTime(options.time);
  const description = describe(checked, now);
  if (options.output === "json") out.json(description);
  else out.print(textOf(description));
  if (!description.ok) return 3;
  if (options.minDays === undefined || description.days_left >= options.minDays) return 0;
  const [first] = checked.judgements.flatMap(({ periods }) => periods).toSorted((a, b) => a.until - b.until);
  out.say(
    `${first?.what} ends in ${description.days_left} days, at ${description.expires}; ${options.minDays} are asked for`,
  );
  return 1;
}

type Description = ReturnType<typeof describe>;

function describe(checked: CheckedCollateral, now: number) {
  const { tcbInfo, qeIdentity, rootCrl, pckCrl } = checked.documents;
  const checks = checked
    .checksAt(now)
    .map(({ name, result, reason, code }) => ({ name, result, reason, ...(code === undefined ? {} : { code }) }));
  return {
    ok: checks.every(({ result }) => result !== "fail"),
    tee: tcbInfo.id,
    fmspc: toHex(tcbInfo.fmspc),
    pce_id: toHex(tcbInfo.pceId),
    tcb_evaluation_data_number: tcbInfo.evaluationDataNumber,
    expires: iso(checked.expiresAt),
    days_left: daysUntil(checked.expiresAt, now),
    documents: [
      {
        name: "TCB info",
        issued: iso(tcbInfo.issueDate),
        expires: iso(tcbInfo.nextUpdate),
        days_left: daysUntil(tcbInfo.nextUpdate, now),
      },
      {
        name: "QE identity",
        issued: iso(qeIdentity.issueDate),
        expires: iso(qeIdentity.nextUpdate),
        days_left: daysUntil(qeIdentity.nextUpdate, now),
      },
      {
        name: "root CRL",
        issued: iso(rootCrl.thisUpdate),
        expires: iso(rootCrl.nextUpdate),
        days_left: daysUntil(rootCrl.nextUpdate, now),
        revoked: rootCrl.revoked.size,
      },
      {
        name: "PCK CRL",
        issued: iso(pckCrl.thisUpdate),
        expires: iso(pckCrl.nextUpdate),
        days_left: daysUntil(pckCrl.nextUpdate, now),
        revoked: pckCrl.revoked.size,
      },
    ],
    tcb_levels: tcbInfo.levels.map((level) => ({
      status: level.status,
      tcb_date: level.tcbDate,
      sgx_components: level.sgx,
      pce_svn: level.pceSvn,
      ...(level.tdx === undefined ? {} : { tdx_components: level.tdx }),
      advisory_ids: level.advisoryIds,
    })),
    tdx_modules: tcbInfo.moduleIdentities.map(({ id, levels }) => ({ id, levels: levels.map(isvLevel) })),
    qe: {
      id: qeIdentity.id,
      mr_signer: toHex(qeIdentity.mrSigner),
      isv_prod_id: qeIdentity.isvProdId,
      levels: qeIdentity.levels.map(isvLevel),
    },
    checks,
  };
}

const isvLevel = ({
  isvSvn,
  status,
  tcbDate,
  advisoryIds,
}: CheckedCollateral["documents"]["qeIdentity"]["levels"][number]) => ({
  isv_svn: isvSvn,
  status,
  tcb_date: tcbDate,
  advisory_ids: advisoryIds,
});

function textOf(description: Description): string {
  const modules = [
    ...description.tdx_modules.map(({ id, levels }) => ({ name: id, levels })),
    { name: description.qe.id, levels: description.qe.levels },
  ];
  return [
    `${description.tee} collateral of FMSPC ${description.fmspc}, PCEID ${description.pce_id}, evaluation ${description.tcb_evaluation_data_number}, good until ${description.expires}`,
    "",
    table(
      ["DOCUMENT", "ISSUED", "EXPIRES", "DAYS LEFT", "REVOKED"],
      description.documents.map(({ name, issued, expires, days_left, revoked }) => [
        name,
        issued,
        expires,
        String(days_left),
        String(revoked ?? ""),
      ]),
    ),
    "",
    table(
      ["TCB LEVEL", "DATE", "PCE", "SGX COMPONENTS", "TDX COMPONENTS", "ADVISORIES"],
      description.tcb_levels.map((level) => [
        level.status,
        level.tcb_date,
        String(level.pce_svn),
        level.sgx_components.join(" "),
        level.tdx_components?.join(" ") ?? "",
        level.advisory_ids.join(" "),
      ]),
    ),
    "",
    table(
      ["MODULE", "SVN", "STATUS", "DATE", "ADVISORIES"],
      modules.flatMap(({ name, levels }) =>
        levels.map((level) => [
          name,
          String(level.isv_svn),
          level.status,
          level.tcb_date,
          level.advisory_ids.join(" "),
        ]),
      ),
    ),
    "",
    ...description.checks.map(({ name, result, reason }) => `${result.padEnd(4)}  ${name}: ${visible(reason)}`),
  ].join("\n");
}

/** Rounded down to a tenth: what is left is never said to be more. */
const daysUntil = (unixSeconds: number, now: number): number => Math.floor((unixSeconds - now) / 8_640) / 10;

const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");
