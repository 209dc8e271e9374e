import { AGENT_PORT } from "@dstack/proto/wire";
import { z } from "zod";
import { parseJson, toHex } from "@dstack/bytes";
import { CliError } from "../terminal/errors.ts";
import { getThroughGateway, shownCertificates, type GatewayAnswer } from "../clients/gateway-client.ts";
import { pemOf } from "./certificates.ts";
import { AcmeInfo, AppEvidence, KmsMeta, type AppSubject, type GatewaySubject, type KmsSubject } from "./subject.ts";

const TIMEOUT_MS = 60_000;

export interface AppRequest {
  readonly url: URL;
  /** PEM file of the authority that signs the gateway's certificate; the system's roots without it. */
  readonly caFile: string | undefined;
  readonly nonce: Uint8Array;
  /** Where to ask the KMS who may change the app. */
  readonly kmsUrl: string | undefined;
}

/**
 * Evidence of an app made for this nonce, and the certificates that its URL shows.
 * @throws CliError where there is no evidence
 */
export async function fetchApp({ url, caFile, nonce, kmsUrl }: AppRequest): Promise<AppSubject> {
  const evidenceUrl = new URL(`/evidence?nonce=${toHex(nonce)}`, url);
  evidenceUrl.hostname = siblingHost(url.hostname, `${url.hostname.split(".")[0]?.split("-")[0]}-${AGENT_PORT}`);
  const answer = await getThroughGateway({ url: evidenceUrl, caFile, timeoutMs: TIMEOUT_MS });
  if (answer.status !== 200) {
    throw new CliError(
      "failed",
      `no evidence at ${evidenceUrl.host}: ${answer.status} ${answer.body.trim().slice(0, 200)}`,
      { hint: `the app may have switched public_tcbinfo off, or its gateway hides port ${AGENT_PORT}` },
    );
  }
  const evidence = read(AppEvidence, answer.body, `the evidence at ${evidenceUrl.host}`);
  const shown = await shownCertificates(url, TIMEOUT_MS);
  const gatewayUrl = new URL("/", url);
  gatewayUrl.hostname = siblingHost(url.hostname, "gateway");
  // Apps are reached without a gateway of ours too, and a KMS may be behind a firewall: both are judged as absent.
  const acme = await fetchAcmeInfo(gatewayUrl, caFile).catch(whereAbsent);
  const kms = kmsUrl === undefined ? undefined : await fetchKms(new URL(kmsUrl)).catch(whereAbsent);
  return {
    kind: "app",
    url: url.href,
    nonce: toHex(nonce),
    evidence,
    certificates: shown.map(pemOf),
    ...(acme === undefined ? {} : { acme_info: acme.info }),
    ...(kms === undefined ? {} : { kms: { certificates: kms.certificates, meta: kms.meta } }),
  };
}

/** @throws CliError where no gateway answers */
export async function fetchGateway(url: URL, caFile: string | undefined): Promise<GatewaySubject> {
  const { info } = await fetchAcmeInfo(url, caFile);
  return {
    kind: "gateway",
    url: url.href,
    certificates: (await shownCertificates(url, TIMEOUT_MS)).map(pemOf),
    acme_info: info,
  };
}

/** The KMS's answer and the certificate of the very connection that it came over. @throws CliError */
export async function fetchKms(url: URL): Promise<KmsSubject> {
  const base = url.pathname.replace(/\/+$/, "").replace(/\/prpc$/, "");
  const answer = await getThroughGateway({
    url: new URL(`${base}/prpc/GetMeta?json`, url),
    acceptAnyCertificate: true,
    timeoutMs: TIMEOUT_MS,
  });
  if (answer.status !== 200)
    throw new CliError(
      "failed",
      `the KMS at ${url.host} answered GetMeta with ${answer.status} ${answer.body.trim().slice(0, 200)}`,
    );
  return {
    kind: "kms",
    url: url.href,
    certificates: answer.certificates.map(pemOf),
    meta: read(KmsMeta, answer.body, `GetMeta of ${url.host}`),
  };
}

const ACME_PATHS = ["/.dstack/acme-info", "/acme-info", "/prpc/AcmeInfo?json", "/AcmeInfo?json"];

/** The paths of each release, in turn. What is read there is judged by its quotes, whoever signed the certificate. */
async function fetchAcmeInfo(url: URL, caFile: string | undefined): Promise<{ readonly info: AcmeInfo }> {
  const failures: string[] = [];
  for (const path of ACME_PATHS) {
    const at = new URL(path, url);
    const answer: GatewayAnswer = await getThroughGateway({
      url: at,
      caFile,
      acceptAnyCertificate: true,
      timeoutMs: TIMEOUT_MS,
    });
    if (answer.status === 200 && answer.body.trimStart().startsWith("{"))
      return { info: read(AcmeInfo, answer.body, `acme-info of ${url.host}`) };
    failures.push(`${path}: ${answer.status}`);
  }
  throw new CliError("failed", `${url.host} serves no acme-info (${failures.join(", ")})`, {
    hint: "give the gateway's own URL: https://gateway.<base domain>/",
  });
}

/** Another first label on the same domain. */
export const siblingHost = (hostname: string, label: string): string =>
  [label, ...hostname.split(".").slice(1)].join(".");

function whereAbsent(error: unknown): undefined {
  if (!(error instanceof CliError)) throw error;
  return undefined;
}

function read<S extends z.ZodType>(schema: S, body: string, what: string): z.output<S> {
  let value: unknown;
  try {
    value = parseJson(body);
  } catch (cause) {
    throw new CliError("failed", `${what} is not JSON`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new CliError("failed", `${what} is malformed: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
