import { readFile } from "node:fs/promises";
import { parseHexOfLength, toHex } from "@dstack/bytes";
import {
  INTEL_COLLATERAL_SERVER,
  decodeAttestation,
  describeShortfall,
  fail,
  intelTrustAnchor,
  pass,
  trustAnchorFromPem,
  type Check,
} from "@dstack/attest";
import { CollateralFetcher, verifyAttestation } from "@dstack/attest/node";
import {
  backupHash,
  decodeSession,
  encodeShare,
  openOwnShare,
  operatorKeyFromPem,
  resealShare,
  restoreReportData,
  type RestoreSession,
} from "@dstack/key-backup";
import { asRefusal } from "@dstack/errors";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import { collateralCacheFolder, collateralPinFolder } from "../local/collateral-folders.ts";
import { readBackup, readBytes, requireRoot, writeNew } from "./operator-files.ts";
import type { KmsShareOpenOptions } from "./options.ts";

/** `dstack kms share open`: exit code 3, with the share unopened, unless all checks of the restoring KMS pass. */
export async function kmsShareOpen(cli: Cli, file: string, options: KmsShareOpenOptions): Promise<number> {
  const { json, print, say } = cli.out;
  const allowed = options.mrAggregated.map((text) => measurement(text));
  if (allowed.length === 0)
    throw new CliError("usage", "--mr-aggregated is missing: say which KMS may have your share", {
      hint: "it is the value that the auth server allows for this KMS (mrAggregated)",
    });
  const bytes = await readBytes(file);
  const backup = readBackup(bytes);
  await requireRoot(backup, options.rootCa);
  const sessionBytes = await readBytes(options.session);
  const session = refusable(() => decodeSession(sessionBytes));
  if (session.backup !== backupHash(bytes))
    throw new CliError("denied", "the session is for another backup than this file");
  const checks = await checkSession(cli.env, session, options, allowed);
  const failed = checks.find(({ result }) => result === "fail");
  if (failed !== undefined) {
    if (options.output === "json") json({ ok: false, checks });
    else
      print(
        `${checks.map(({ name, result, reason }) => `${result.padEnd(5)} ${name}: ${reason}`).join("\n")}\nyour share was not opened`,
      );
    return 3;
  }
  const keyFile = await readBytes(options.key);
  const operator = refusable(() => operatorKeyFromPem(Buffer.from(keyFile).toString("latin1")));
  keyFile.fill(0);
  try {
    const { index, share } = refusable(() => openOwnShare(backup, operator));
    try {
      await writeNew(options.out, encodeShare(resealShare(session, index, share, operator)));
    } finally {
      share.fill(0);
    }
    if (options.output === "json") json({ ok: true, checks, share: options.out, operator: index });
    else {
      say(checks.map(({ name, result, reason }) => `${result.padEnd(5)} ${name}: ${reason}`).join("\n"));
      print(
        `${options.out}: share ${index + 1} of ${backup.header.operators.length}, sealed to session ${toHex(session.publicKey)} alone`,
      );
    }
    return 0;
  } finally {
    operator.secretKey.fill(0);
  }
}

/** What an operator wants to know of the KMS before giving it anything: is it real, is it ours, and is it the one that holds this key? */
async function checkSession(
  env: NodeJS.ProcessEnv,
  session: RestoreSession,
  options: KmsShareOpenOptions,
  allowed: readonly string[],
): Promise<Check[]> {
  const trustAnchor =
    options.root === undefined ? intelTrustAnchor() : trustAnchorFromPem(await readFile(options.root, "utf8"));
  const endpoints = options.pccs.length > 0 ? options.pccs : [env["PCCS_URL"] ?? INTEL_COLLATERAL_SERVER];
  let attestation;
  try {
    attestation = decodeAttestation(session.attestation);
  } catch (error) {
    return [
      {
        name: "evidence",
        ...fail(`the session's evidence cannot be read: ${error instanceof Error ? error.message : String(error)}`),
      },
    ];
  }
  const verification = await verifyAttestation(attestation, {
    collateralSource: new CollateralFetcher({
      endpoints,
      trustAnchor,
      cacheFolder: collateralCacheFolder(env),
      pinFolder: collateralPinFolder(env),
    }),
    now: Math.floor(Date.now() / 1000),
    trustAnchor,
    expectedReportData: restoreReportData(session),
    vmConfig: session.vmConfig,
  });
  const checks = [
    ...verification.checks,
    {
      name: "domain",
      ...(session.domain === options.domain
        ? pass(session.domain)
        : fail(`the keys would be installed for ${session.domain}, not for ${options.domain}`)),
    },
  ];
  if (!verification.ok)
    return checks.some(({ result }) => result === "fail")
      ? checks
      : [...checks, { name: "evidence", ...fail(verification.reason) }];
  const { quote, appInfo } = verification;
  const accepted = ["UpToDate", ...options.acceptTcb];
  const status: string = quote.status;
  checks.push({
    name: "tcb",
    ...(accepted.includes(status)
      ? pass(status)
      : fail(
          `the platform is ${status}${quote.advisoryIds.length === 0 ? "" : ` (${quote.advisoryIds.join(" ")})`}; accepted: ${accepted.join(", ")}${quote.shortfall === undefined ? "" : `; ${describeShortfall(quote.shortfall)}`}`,
        )),
  });
  const measured = toHex(appInfo.mrAggregated);
  checks.push({
    name: "kms-measurement",
    ...(allowed.includes(measured)
      ? pass(measured)
      : fail(`mrAggregated is ${measured}; allowed: ${allowed.join(", ")}`)),
  });
  return checks;
}

function measurement(text: string): string {
  try {
    return toHex(parseHexOfLength(text, 32));
  } catch (cause) {
    throw new CliError("usage", `--mr-aggregated: expected 64 hex digits, got "${text.slice(0, 80)}"`, { cause });
  }
}

function refusable<T>(run: () => T): T {
  return asRefusal(run, (cause) => new CliError("denied", cause.message, { cause: cause.cause }));
}
