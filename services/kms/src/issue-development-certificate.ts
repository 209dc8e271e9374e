import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { appId, parseHexOfLength } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { readTextIfExists } from "@dstack/files";
import { pointFromSpki } from "@dstack/keys";
import { createLeaf, USAGE } from "@dstack/ratls";
import { appCaOf } from "./release/sign-certificate.ts";
import { KmsError } from "./errors.ts";
import { readRootCa } from "./keys/key-store.ts";

export interface IssueOptions {
  readonly keyFolder: string;
  /** 40 hex digits. */
  readonly appId: string;
  /** DNS names and IP addresses; the first is the subject too. */
  readonly domains: readonly string[];
  /** PEM `PUBLIC KEY`, P-256. */
  readonly publicKeyFile: string;
  /** Gets the chain in PEM: leaf, app CA, root CA. */
  readonly outFile: string;
  /** Unix seconds. */
  readonly now: number;
}

/**
 * Signs a certificate for a platform part that runs outside a TEE and so has no evidence to show:
 * the gateway of a development host. Only in a key folder marked development.
 * @throws KmsError `not-development`, `not-bootstrapped`
 */
export async function issueDevelopmentCertificate(options: IssueOptions): Promise<void> {
  const { keyFolder, domains, now } = options;
  const mark = (await readTextIfExists(join(keyFolder, "environment")))?.trim();
  if (mark !== "development") {
    throw new KmsError(
      "not-development",
      `${keyFolder} is marked ${mark ?? "nothing yet"}; certificates without evidence are issued in a development key folder only`,
    );
  }
  const [subject] = domains;
  if (subject === undefined) throw new KmsError("usage", "--domain: expected at least one name");
  const app = appId(parseHexOfLength(options.appId, 20, "--app-id"));
  const [spki] = readPem(await readFile(options.publicKeyFile, "utf8"), "PUBLIC KEY", options.publicKeyFile);
  const root = await readRootCa(keyFolder);
  const appCa = appCaOf(root, app, now);
  const leaf = createLeaf({
    issuer: appCa,
    publicPoint: pointFromSpki(spki ?? new Uint8Array()),
    commonName: subject,
    altNames: domains,
    serverAuth: true,
    clientAuth: true,
    usage: USAGE.appCustom,
    appId: app,
    now,
  });
  await writeFile(options.outFile, leaf.pem + appCa.pem + root.pem);
}
