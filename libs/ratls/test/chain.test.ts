import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import { appId } from "@dstack/bytes";
import { parseCertificate } from "@dstack/attest";
import type { Certificate } from "@dstack/attest";
import {
  derBitString,
  derBoolean,
  derContext,
  derElement,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
} from "@dstack/der";
import { generateP256, p256FromScalar, privateKeyObject, spkiDer, type P256Key } from "@dstack/keys";
import {
  createAppCa,
  createCa,
  createLeaf,
  parseCertificates,
  RatlsError,
  verifyCertificateChain,
} from "@dstack/ratls";
import { X509_OID } from "../src/oids.ts";

const NOW = 1_764_000_000;

interface Fields {
  readonly name: string;
  readonly key: P256Key;
  readonly issuer: { readonly name: string; readonly key: P256Key };
  readonly ca?: boolean;
  readonly signsCertificates?: boolean;
  readonly pathLength?: number;
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly algorithm?: string;
  readonly critical?: string;
  /** In place of `key`'s, and of the issuer's signature. */
  readonly publicKeyInfo?: Uint8Array;
  readonly signature?: (tbs: Uint8Array) => Uint8Array;
}

/** A certificate in which every field that the chain rule looks at can be set. */
function certificate(fields: Fields): Certificate {
  const {
    name,
    key,
    issuer,
    ca = false,
    signsCertificates = ca,
    notBefore = NOW - 100,
    notAfter = NOW + 100,
    algorithm: oid = X509_OID.ecdsaWithSha256,
  } = fields;
  const rdn = (text: string): Uint8Array => derSequence(derSet(derSequence(derOid("2.5.4.3"), derUtf8(text))));
  const algorithm = derSequence(derOid(oid));
  const extension = (id: string, critical: boolean, value: Uint8Array): Uint8Array =>
    derSequence(derOid(id), ...(critical ? [derBoolean(true)] : []), derElement(0x04, value));
  const constraints = [
    ...(ca ? [derBoolean(true)] : []),
    ...(fields.pathLength === undefined ? [] : [derUnsigned(fields.pathLength)]),
  ];
  const tbs = derSequence(
    derContext(0, true, derUnsigned(2)),
    derUnsigned(7),
    algorithm,
    rdn(issuer.name),
    derSequence(derTime(notBefore), derTime(notAfter)),
    rdn(name),
    fields.publicKeyInfo ?? spkiDer(key),
    derContext(
      3,
      true,
      derSequence(
        extension(
          X509_OID.keyUsage,
          true,
          derBitString(Uint8Array.of(signsCertificates ? 0x06 : 0x80), signsCertificates ? 1 : 7),
        ),
        extension(X509_OID.basicConstraints, true, derSequence(...constraints)),
        ...(fields.critical === undefined ? [] : [extension(fields.critical, true, derOctetString(new Uint8Array(1)))]),
      ),
    ),
  );
  const signature =
    fields.signature?.(tbs) ??
    new Uint8Array(sign("sha256", tbs, { key: privateKeyObject(issuer.key), dsaEncoding: "der" }));
  return parseCertificate(derSequence(tbs, algorithm, derBitString(signature)));
}

const keys = Array.from({ length: 8 }, (_, index) => p256FromScalar(new Uint8Array(32).fill(index + 1)));
const end = (index: number): { name: string; key: P256Key } => ({ name: `level ${index}`, key: keys[index]! });

/** Root (0), `authorities` CAs below each other, a leaf; changes by position. Leaf first. */
function chain(
  authorities: number,
  changes: Readonly<Record<number, Partial<Fields>>> = {},
): { readonly sent: Certificate[]; readonly root: Certificate } {
  const all = Array.from({ length: authorities + 2 }, (_, index) =>
    certificate({ ...end(index), issuer: end(Math.max(0, index - 1)), ca: index <= authorities, ...changes[index] }),
  );
  return { sent: all.slice(1).toReversed(), root: all[0]! };
}

function verdict(
  { sent, root }: { readonly sent: readonly Certificate[]; readonly root: Certificate },
  now = NOW,
): string {
  try {
    verifyCertificateChain({ chain: sent, roots: [root], now });
    return "accepted";
  } catch (error) {
    assert.ok(error instanceof RatlsError && error.code === "chain-refused", String(error));
    return error.message;
  }
}

test("accepts up to four certificates below the root, and says so where there are more", () => {
  for (const authorities of [0, 1, 2, 3])
    assert.equal(verdict(chain(authorities)), "accepted", `${authorities} authorities`);
  assert.match(verdict(chain(4)), /over 4 certificates without a trusted root/);
  assert.match(verdict({ sent: [], root: chain(0).root }), /no certificate was presented/);
});

test("holds each certificate to its own dates, to the second", () => {
  for (const index of [1, 2]) {
    const dated = chain(1, { [index]: { notBefore: NOW, notAfter: NOW + 5 } });
    assert.equal(verdict(dated, NOW), "accepted");
    assert.equal(verdict(dated, NOW + 5), "accepted");
    assert.match(verdict(dated, NOW - 1), new RegExp(`"level ${index}" is not valid now \\(depth ${2 - index}\\)`));
    assert.match(verdict(dated, NOW + 6), /is not valid now/);
  }
});

test("names the certificate and the rule that it breaks", () => {
  assert.match(verdict(chain(1, { 1: { ca: false } })), /"level 1" is no CA/);
  assert.match(verdict(chain(1, { 1: { signsCertificates: false } })), /"level 1" is no CA/);
  assert.match(verdict(chain(0, { 0: { ca: false } })), /"level 0" is no CA/);
  assert.match(
    verdict(chain(1, { 2: { issuer: { name: "level 1", key: keys[7]! } } })),
    /"level 2" is not signed by "level 1"/,
  );
  assert.match(
    verdict(chain(1, { 2: { issuer: { name: "somebody", key: keys[1]! } } })),
    /"level 2" was issued by "somebody", the next certificate is "level 1"/,
  );
  assert.match(
    verdict(chain(1, { 1: { issuer: { name: "somebody", key: keys[0]! } } })),
    /"level 1" leads to no trusted root \(issuer "somebody"\)/,
  );
  assert.match(
    verdict(chain(1, { 1: { issuer: { name: "level 0", key: keys[7]! } } })),
    /"level 1" leads to no trusted root \(issuer "level 0"\)/,
  );
  assert.match(
    verdict(chain(0, { 1: { algorithm: "1.2.840.10045.4.3.3" } })),
    /"level 1" is not signed with ECDSA and SHA-256/,
  );
});

test("takes signatures by elliptic curve keys only, whatever the certificate says of them", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const publicKeyInfo = new Uint8Array(rsa.publicKey.export({ format: "der", type: "spki" }));
  const signature = (tbs: Uint8Array): Uint8Array => new Uint8Array(sign("sha256", tbs, rsa.privateKey));
  assert.match(verdict(chain(0, { 0: { publicKeyInfo }, 1: { signature } })), /leads to no trusted root/);
});

test("holds a key that is no key for one that signed nothing", () => {
  const spki = spkiDer(keys[1]!);
  for (const publicKeyInfo of [
    spki.with(spki.length - 1, spki.at(-1)! ^ 1),
    derSequence(),
    derSequence(derSequence(derOid("1.2.3.4")), derBitString(new Uint8Array(3))),
  ]) {
    assert.match(verdict(chain(1, { 1: { publicKeyInfo } })), /"level 2" is not signed by "level 1"/);
  }
});

test("counts the authorities below one that limits them", () => {
  assert.equal(verdict(chain(2, { 0: { pathLength: 2 } })), "accepted");
  assert.match(verdict(chain(2, { 0: { pathLength: 1 } })), /"level 0" allows 1 CAs below it, found 2/);
  assert.equal(verdict(chain(2, { 1: { pathLength: 1 }, 2: { pathLength: 0 } })), "accepted");
  assert.match(verdict(chain(2, { 1: { pathLength: 0 } })), /"level 1" allows 0 CAs below it, found 1/);
});

test("refuses a critical extension that it does not know, and takes those it does", () => {
  for (const index of [1, 2]) {
    assert.match(
      verdict(chain(1, { [index]: { critical: "1.2.3.4" } })),
      new RegExp(`"level ${index}": unknown critical extension 1\\.2\\.3\\.4`),
    );
  }
  for (const oid of [X509_OID.extendedKeyUsage, X509_OID.subjectAltName])
    assert.equal(verdict(chain(1, { 2: { critical: oid } })), "accepted");
});

test("a root with the right name and another key is no root, wherever it stands in the list", () => {
  const good = chain(1);
  const other = certificate({ name: "level 0", key: keys[6]!, issuer: { name: "level 0", key: keys[6]! }, ca: true });
  assert.equal(verifyCertificateChain({ chain: good.sent, roots: [other, good.root], now: NOW }), good.root);
  assert.match(verdict({ sent: good.sent, root: other }), /no trusted root/);
});

test("reads the roots of several PEM texts", () => {
  const first = createCa({ commonName: "first", key: generateP256(), pathLength: 1, now: NOW });
  const second = createCa({ commonName: "second", key: generateP256(), pathLength: 1, now: NOW });
  const roots = parseCertificates(first.pem, second.pem);
  assert.deepEqual(
    roots.map(({ raw }) => raw),
    [first.certificate.raw, second.certificate.raw],
  );
  const leaf = createLeaf({ commonName: "leaf", issuer: second, publicPoint: keys[0]!.publicPoint, now: NOW });
  assert.equal(verifyCertificateChain({ chain: [leaf.certificate], roots, now: NOW }), roots[1]);
});

test("names the authority of an app as the reference does", () => {
  const root = createCa({ commonName: "root", key: keys[0]!, pathLength: 1, now: NOW });
  const app = createAppCa({ root, key: keys[1]!, appId: appId(new Uint8Array(20)), now: NOW });
  assert.equal(
    Buffer.from(app.certificate.subject)
      .toString("latin1")
      .replace(/[^ -~]+/g, "|"),
    "0)1|0|U|Dstack1|0|U|Dstack App CA",
  );
});
