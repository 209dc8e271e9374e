import { toHex } from "@dstack/bytes";
import {
  AttestError,
  type CheckedCollateral,
  collateralFromJson,
  collateralToJson,
  firstFailure,
  parseQuote,
  quoteBytesOf,
  type Quote,
  type QuoteCollateral,
} from "@dstack/attest";
import {
  checkCollateral,
  CollateralFetcher,
  CollateralFolder,
  collateralKey,
  keyOfCollateral,
  platformOf,
} from "@dstack/attest/node";
import { writeFileAtomic } from "@dstack/files";
import { CliError } from "../terminal/errors.ts";
import { print, printJson, say, table, visible, type OutputFormat } from "../terminal/output.ts";
import { collateralPinFolder } from "../local/collateral-folders.ts";
import { readAnchor, readInput, readTime } from "../evidence/inputs.ts";

const DEFAULT_ENDPOINTS = ["https://api.trustedservices.intel.com", "https://pccs.phala.network"];

/** `dstack collateral fetch` */
export async function fetchCollateral(
  env: NodeJS.ProcessEnv,
  quoteFile: string,
  options: { readonly pccs: readonly string[]; readonly root?: string; readonly out?: string },
): Promise<void> {
  const fromEnvironment = env["PCCS_URL"];
  const endpoints =
    options.pccs.length > 0 ? options.pccs : fromEnvironment === undefined ? DEFAULT_ENDPOINTS : [fromEnvironment];
  const fetcher = new CollateralFetcher({ endpoints, trustAnchor: await readAnchor(options.root) });
  const text = `${JSON.stringify(collateralToJson(await fetcher.collateralFor(await readQuoteFile(quoteFile))), null, 2)}\n`;
  if (options.out === undefined) process.stdout.write(text);
  else {
    await writeFileAtomic(options.out, text, { mode: 0o644 });
    say(`wrote ${options.out}`);
  }
}

/** `dstack collateral show`: exit code 0 when nothing fails, 3 otherwise. */
export async function showCollateral(
  file: string,
  options: { readonly time?: string; readonly root?: string; readonly output: OutputFormat },
): Promise<number> {
  const checked = checkCollateral(await readCollateralFile(file), await readAnchor(options.root));
  const description = describe(checked, readTime(options.time));
  if (options.output === "json") printJson(description);
  else print(textOf(description));
  return description.ok ? 0 : 3;
}

/** `dstack collateral pin` */
export async function pinCollateral(
  env: NodeJS.ProcessEnv,
  file: string,
  options: { readonly quote?: string; readonly root?: string },
): Promise<void> {
  const collateral = await readCollateralFile(file);
  const problem = firstFailure(
    checkCollateral(collateral, await readAnchor(options.root)).checksAt(readTime(undefined)),
  );
  if (problem !== undefined)
    throw new CliError("denied", `${file} does not hold: ${problem}`, { hint: `dstack collateral show ${file}` });
  const key =
    options.quote === undefined
      ? keyOfCollateral(collateral)
      : collateralKey(platformOf(await readQuoteFile(options.quote)));
  print(await new CollateralFolder(collateralPinFolder(env)).write(key, collateral));
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
    documents: [
      { name: "TCB info", issued: iso(tcbInfo.issueDate), expires: iso(tcbInfo.nextUpdate) },
      { name: "QE identity", issued: iso(qeIdentity.issueDate), expires: iso(qeIdentity.nextUpdate) },
      {
        name: "root CRL",
        issued: iso(rootCrl.thisUpdate),
        expires: iso(rootCrl.nextUpdate),
        revoked: rootCrl.revoked.size,
      },
      {
        name: "PCK CRL",
        issued: iso(pckCrl.thisUpdate),
        expires: iso(pckCrl.nextUpdate),
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
      ["DOCUMENT", "ISSUED", "EXPIRES", "REVOKED"],
      description.documents.map(({ name, issued, expires, revoked }) => [name, issued, expires, String(revoked ?? "")]),
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

const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");

async function readQuoteFile(file: string): Promise<Quote> {
  return parseQuote(quoteBytesOf(await readInput(file)));
}

async function readCollateralFile(file: string): Promise<QuoteCollateral> {
  const bytes = await readInput(file);
  try {
    return collateralFromJson(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (cause) {
    if (cause instanceof AttestError) throw cause;
    throw new CliError("failed", `${file}: not valid JSON, expected collateral in the exchange form`, { cause });
  }
}
