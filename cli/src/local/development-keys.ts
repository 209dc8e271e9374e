import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { readTextIfExists, writeFileAtomic, writeSecret } from "@dstack/files";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { createCa, createLeaf, loadCa, type SigningCa } from "@dstack/ratls";
import { BASE_DOMAIN, type StackLayout } from "./layout.ts";

/**
 * The secret in a file of the state folder, made at first start and kept from then on.
 * @param bytes how many random bytes; the file holds their hex
 */
export async function keptSecret(path: string, bytes: number): Promise<string> {
  const kept = (await readTextIfExists(path))?.trim();
  if (kept !== undefined && kept.length === 2 * bytes) return kept;
  const made = toHex(randomBytes(bytes));
  await mkdir(join(path, ".."), { recursive: true, mode: 0o700 });
  await writeSecret(path, `${made}\n`);
  return made;
}

const YEAR_SECONDS = 365 * 86_400;
const RENEW_BEFORE_SECONDS = 30 * 86_400;

/**
 * The certificate authority of the local deployment's gateway and its wildcard certificate: both
 * made at first start, the certificate anew when its end is near.
 */
export async function ensureWildcardCertificate(layout: StackLayout, nowSeconds: number): Promise<void> {
  const at = (name: string): string => join(layout.caFolder, name);
  await mkdir(layout.caFolder, { recursive: true, mode: 0o700 });
  const ca = await ensureCa(at("ca.key"), at("ca.crt"), nowSeconds);
  const until = Number(await readTextIfExists(at("wildcard.until")).catch(() => undefined));
  if (
    until > nowSeconds + RENEW_BEFORE_SECONDS &&
    (await readTextIfExists(at("wildcard.crt"))) !== undefined &&
    (await readTextIfExists(at("wildcard.key"))) !== undefined
  )
    return;
  const key = generateP256();
  const notAfter = nowSeconds + YEAR_SECONDS;
  const leaf = createLeaf({
    commonName: `*.${BASE_DOMAIN}`,
    altNames: [`*.${BASE_DOMAIN}`, BASE_DOMAIN],
    issuer: ca,
    publicPoint: key.publicPoint,
    serverAuth: true,
    notBefore: nowSeconds - 3_600,
    notAfter,
    now: nowSeconds,
  });
  await writeSecret(at("wildcard.key"), pkcs8Pem(key));
  await writeFileAtomic(at("wildcard.crt"), `${leaf.pem}${ca.pem}`, { mode: 0o644 });
  await writeFileAtomic(at("wildcard.until"), `${notAfter}\n`);
}

async function ensureCa(keyPath: string, certificatePath: string, nowSeconds: number): Promise<SigningCa> {
  const keyPem = await readTextIfExists(keyPath);
  const pem = await readTextIfExists(certificatePath);
  if (keyPem !== undefined && pem !== undefined) return loadCa(pem, keyPem, "development CA");
  const ca = createCa({
    organization: "dstack",
    commonName: "dstack development CA",
    key: generateP256(),
    pathLength: 0,
    notBefore: nowSeconds - 3_600,
    notAfter: nowSeconds + 10 * YEAR_SECONDS,
    now: nowSeconds,
  });
  await writeSecret(keyPath, pkcs8Pem(ca.key));
  await writeFileAtomic(certificatePath, ca.pem, { mode: 0o644 });
  return ca;
}
