import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { reportDataFor, trustAnchorFromPem } from "@dstack/attest";
import { fixedCollateral } from "@dstack/attest/node";
import { writePem } from "@dstack/der";
import { generateP256, spkiDer } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { createCa, createLeaf, parseCertificates, type LeafOptions, type SigningCa } from "@dstack/ratls";
import { imagesBelow } from "@dstack/verify";
import {
  collateralAt,
  makeEvidence,
  makeImage,
  newPki,
  NOW,
  type MockImage,
} from "../../../libs/verify/test/mock-app.ts";
import { judgeCertificate } from "../src/judge-certificate.ts";
import { verifyCertificateFile } from "../src/one-shot.ts";
import type { VerificationResponse } from "../src/verification-response.ts";
import { Verifier } from "../src/verifier.ts";

const DAY = 86_400;
const pki = newPki();
const root = createCa({ commonName: "Root", key: generateP256(), pathLength: 1, now: NOW });
const ca = createCa({ commonName: "App CA", key: generateP256(), issuer: root, pathLength: 0, now: NOW });
const key = generateP256();
let folder = "";
let image: MockImage;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "certificate-file-"));
  image = await makeImage(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

/** A certificate whose evidence holds for its key; only what is changed is wrong with it. */
const issue = (change: Partial<LeafOptions> = {}, issuer: SigningCa = ca) =>
  createLeaf({
    commonName: "app.example",
    issuer,
    publicPoint: key.publicPoint,
    attestation: makeEvidence(image, { pki, reportData: reportDataFor("ratls-cert", spkiDer(key)) }).attestation,
    notBefore: NOW - DAY,
    notAfter: NOW + DAY,
    now: NOW,
    ...change,
  });

/** The certificate with a byte of its text or its signature written over. */
function overwritten(pem: string, at: (der: Buffer) => number): string {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const index = at(der);
  der[index] = der[index]! ^ 1;
  return writePem(der, "CERTIFICATE");
}
const name = (der: Buffer): number => der.indexOf("app.example");
const signature = (der: Buffer): number => der.length - 5;

async function verify(pem: string, chain?: string): Promise<VerificationResponse> {
  const [file, chainFile] = [join(folder, "certificate.pem"), join(folder, "chain.pem")];
  await writeFile(file, pem);
  if (chain !== undefined) await writeFile(chainFile, chain);
  const clock = { now: () => NOW * 1000 };
  const verifier = new Verifier({
    collateralSource: fixedCollateral(collateralAt(pki)),
    trustAnchor: trustAnchorFromPem(pki.rootPem),
    images: imagesBelow(folder),
    clock,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
  });
  return verifyCertificateFile(verifier, file, { chainFile: chain === undefined ? undefined : chainFile, clock });
}

const checkOf = ({ details }: VerificationResponse, check: string): string => {
  const found = details.checks.find(({ name: candidate }) => candidate === check);
  return `${found?.result}: ${found?.reason}`;
};

test("a certificate under the issuers that are trusted is valid, in any order of them and with some behind it", async () => {
  for (const [pem, chain] of [
    [issue().pem, ca.pem + root.pem],
    [issue().pem, root.pem + ca.pem],
    [issue().pem + ca.pem, root.pem],
    [issue().pem, ca.pem],
  ] as const) {
    const response = await verify(pem, chain);
    assert.equal(response.is_valid, true, response.reason ?? "");
    assert.match(checkOf(response, "certificate-signature"), /^pass: issued under "(Root|App CA)"/);
  }
});

test("a certificate that has ended, or has not begun, is not valid whatever its evidence", async () => {
  const ended = await verify(issue({ notBefore: NOW - 2 * DAY, notAfter: NOW - 1 }).pem);
  assert.equal(ended.is_valid, false);
  assert.match(
    ended.reason ?? "",
    /^Certificate verification failed: certificate-validity: ended at 2030-06-14T23:59:59Z/,
  );
  assert.equal(ended.details.quote_verified, true);
  const early = await verify(issue({ notBefore: NOW + 1, notAfter: NOW + DAY }).pem);
  assert.equal(early.is_valid, false);
  assert.match(early.reason ?? "", /certificate-validity: valid only from 2030-06-15T00:00:01Z/);
});

test("a signature that does not hold, or a name written over, is found wherever an issuer is at hand", async () => {
  for (const place of [name, signature]) {
    const broken = overwritten(issue().pem, place);
    for (const [pem, chain] of [
      [broken, ca.pem + root.pem],
      [broken, ca.pem],
      [broken + ca.pem, undefined],
      [broken + ca.pem, root.pem],
    ] as const) {
      const response = await verify(pem, chain);
      assert.equal(response.is_valid, false);
      assert.match(response.reason ?? "", /^Certificate verification failed: certificate-signature: /);
    }
  }
});

test("a certificate that names itself as issuer must be signed by its own key", async () => {
  const own: SigningCa = createCa({ commonName: "app.example", key, pathLength: 0, now: NOW });
  const response = await verify(issue({}, own).pem);
  assert.equal(response.is_valid, true, response.reason ?? "");
  assert.match(checkOf(response, "certificate-signature"), /^pass: "app.example" is signed by its own key/);
  const other = createCa({ commonName: "app.example", key: generateP256(), pathLength: 0, now: NOW });
  assert.equal((await verify(issue({}, other).pem)).is_valid, false);
  assert.equal((await verify(overwritten(issue({}, own).pem, signature))).is_valid, false);
});

test("what was not looked at is told, and what nobody vouches for is not called proven", async () => {
  const alone = await verify(issue().pem);
  assert.equal(alone.is_valid, true);
  assert.match(checkOf(alone, "certificate-signature"), /^not bound: not looked at: issued by "App CA".*--chain/);
  const withIssuer = await verify(issue().pem + ca.pem);
  assert.match(checkOf(withIssuer, "certificate-signature"), /^not bound: signed by "App CA" of the same file/);
});

test("issuers that are trusted and lead nowhere, or that may not sign, refuse", async () => {
  const stranger = createCa({ commonName: "App CA", key: generateP256(), pathLength: 0, now: NOW });
  assert.equal((await verify(issue().pem, stranger.pem)).is_valid, false);
  const leafAsIssuer = { ...ca, pem: issue().pem };
  assert.equal((await verify(issue().pem, leafAsIssuer.pem)).is_valid, false);
  await assert.rejects(verify(issue().pem, "no certificate"), /chain\.pem: expected certificates in PEM/);
});

test("evidence that does not hold stays the reason, and the certificate's checks are listed all the same", async () => {
  const response = await verify(issue({ publicPoint: generateP256().publicPoint, notAfter: NOW - 1 }).pem);
  assert.match(response.reason ?? "", /^Quote verification failed: report-data/);
  assert.match(checkOf(response, "certificate-validity"), /^fail: ended at/);
});

test("a ring of issuers ends", () => {
  const [first] = parseCertificates(issue().pem);
  const [ring] = parseCertificates(ca.pem);
  assert.ok(first !== undefined && ring !== undefined);
  const looped = { ...ring, issuer: first.subject };
  const [, outcome] = judgeCertificate({ certificates: [first], trusted: [looped, first], now: NOW });
  assert.equal(outcome?.result, "fail");
});
