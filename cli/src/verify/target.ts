import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { notBound, pass, type Outcome } from "@dstack/attest";
import { readTextIfExists } from "@dstack/files";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import type { StackLayout } from "../local/layout.ts";
import { isBundle, readBundle, writeBundle } from "./bundle.ts";
import { bundleImages } from "./bundle-image.ts";
import { readPolicyHistory } from "./earlier-versions.ts";
import { fetchApp, fetchGateway, fetchKms } from "./fetch-subject.ts";
import { readJson } from "../evidence/inputs.ts";
import { judgeApp, plainHex } from "./judge-app.ts";
import { judgeEvidenceFile } from "./judge-evidence-file.ts";
import { judgeGateway } from "./judge-gateway.ts";
import { judgeKms } from "./judge-kms.ts";
import { isLocal, openContext, type OpenContext } from "./open-context.ts";
import type { VerifyOptions } from "./options.ts";
import type { VerifyResult } from "./result.ts";
import { Subject } from "./subject.ts";

/** What `dstack verify` takes, for whatever is judged; it may be given nothing. */
export type TargetOptions = {
  readonly [Name in Exclude<keyof VerifyOptions, "output">]?: VerifyOptions[Name] | undefined;
};

export type RemoteKind = "app" | "kms" | "gateway";

/**
 * Fetches fresh evidence from a URL and judges all of it.
 * @throws CliError where there is nothing to judge
 */
export async function verifyUrl(cli: Cli, kind: RemoteKind, url: URL, options: TargetOptions): Promise<VerifyResult> {
  const { layout } = cli;
  const local = isLocal(layout, url);
  const caFile = options.cacert ?? (local ? `${layout.caFolder}/ca.crt` : undefined);
  const kmsUrl = options.kms ?? (local ? `https://127.0.0.1:${layout.ports.kms}` : undefined);
  const open = await openContext(cli, options, { local });
  const subject = await fetchSubject(kind, url, caFile, kmsUrl);
  const result = await judge(cli, open, options, {
    subject,
    what: url.href,
    local,
    fresh: pass("the evidence was made for a nonce chosen now"),
  });
  if (options.save !== undefined) await save(options.save, subject, open);
  return result;
}

/**
 * Judges a bundle, or bare evidence in JSON, without a network but for what the options name.
 * @throws CliError where the file cannot be read
 */
export async function verifyFile(cli: Cli, file: string, options: TargetOptions): Promise<VerifyResult> {
  const { layout } = cli;
  const value = await readJson(file);
  if (isBundle(value)) {
    const bundle = readBundle(value, file);
    const { subject } = bundle;
    // The URL is the bundle's own word: where another root is named, or none is here, it is not of this machine.
    const local =
      "url" in subject &&
      options.root === undefined &&
      existsSync(layout.teeRoot) &&
      isLocal(layout, new URL(subject.url));
    const open = await openContext(cli, options, { bundle, local });
    const result = await judge(cli, open, options, {
      subject,
      what: file,
      local,
      fresh: notBound(`as of ${bundle.fetched_at}, by the word of whoever made the bundle and chose its nonce`),
    });
    // A file must not read like the live thing that it is about.
    return { ...result, what: `${file} (bundle of ${result.what})` };
  }
  const parsed = Subject.safeParse({ kind: "evidence", evidence: value });
  if (!parsed.success || parsed.data.kind !== "evidence")
    throw new CliError(
      "failed",
      `${file} is neither an evidence bundle nor evidence in JSON (quote, event_log and vm_config, or attestation)`,
    );
  const open = await openContext(cli, options, { local: false });
  return judge(cli, open, options, {
    subject: parsed.data,
    what: file,
    local: false,
    fresh: notBound("evidence in a file"),
  });
}

function fetchSubject(
  kind: RemoteKind,
  url: URL,
  caFile: string | undefined,
  kmsUrl: string | undefined,
): Promise<Subject> {
  switch (kind) {
    case "app":
      return fetchApp({ url, caFile, nonce: randomBytes(32), kmsUrl });
    case "kms":
      return fetchKms(url);
    case "gateway":
      return fetchGateway(url, caFile);
  }
}

/** What is judged, and what is known of it beside what it says itself. */
interface Judged {
  readonly subject: Subject;
  readonly what: string;
  readonly local: boolean;
  readonly fresh: Outcome;
}

async function judge(cli: Cli, open: OpenContext, options: TargetOptions, judged: Judged): Promise<VerifyResult> {
  const result = await judgeSubject(cli, open, options, judged);
  return open.ends.length === 0 ? result : { ...result, goodUntil: Math.min(...open.ends) };
}

async function judgeSubject(
  { layout }: Cli,
  { context }: OpenContext,
  options: TargetOptions,
  { subject, ...about }: Judged,
): Promise<VerifyResult> {
  const { appId, composeHash, osImageHash, gatewayAppId, accept = [] } = options;
  const expected = {
    appId: plainHex(appId),
    composeHash: plainHex(composeHash),
    osImageHash: plainHex(osImageHash),
    gatewayAppId: plainHex(gatewayAppId),
  };
  switch (subject.kind) {
    case "app":
      return judgeApp(subject, {
        context,
        accept,
        local: about.local,
        fresh: about.fresh,
        expected: { ...expected, kmsRootPem: await kmsRoot(layout, options, about.local) },
        policyHistory: about.local ? await readPolicyHistory(layout.authConfig) : undefined,
      });
    case "kms":
      return judgeKms(subject, { context, expected, accept });
    case "gateway":
      return judgeGateway(subject, { context, expected, accept });
    case "evidence":
      return judgeEvidenceFile(about.what, subject, { context, expected, accept });
  }
}

async function kmsRoot(layout: StackLayout, { kmsCa }: TargetOptions, local: boolean): Promise<string | undefined> {
  const file = kmsCa ?? (local ? layout.kmsRootCa : undefined);
  const pem = file === undefined ? undefined : await readTextIfExists(file);
  if (pem === undefined && kmsCa !== undefined) throw new CliError("not-found", `${kmsCa} cannot be read`);
  return pem;
}

async function save(
  file: string,
  subject: Subject,
  { recorder, imageInputs, imageFolders }: OpenContext,
): Promise<void> {
  await writeBundle(file, {
    fetched_at: new Date().toISOString(),
    subject,
    collateral: recorder.recorded(),
    images: await bundleImages(imageInputs, imageFolders),
  });
}
