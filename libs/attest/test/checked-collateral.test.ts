import assert from "node:assert/strict";
import { test } from "node:test";
import {
  alreadyChecked,
  CheckedCollateral,
  collateralFromJson,
  collateralToJson,
  concludeCollateral,
  concludeQuote,
  parseQuote,
  planCollateral,
  planQuote,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { VerifyOptions } from "@dstack/attest";
import { utf8Decode } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { checkCollateral, signatureHolds, verifyQuote } from "@dstack/attest/node";
import { forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import { keyOf } from "../../../tests/forge/forging-keys.ts";
import type { Forged, Scene } from "../../../tests/forge/forged-evidence.ts";
import { failuresOf } from "./forged.ts";

const scene = goodScene();
const forged = forge(scene);
const optionsOf = ({ now, rootPem }: Forged): VerifyOptions => ({ now, trustAnchor: trustAnchorFromPem(rootPem) });
const options = optionsOf(forged);
const checked = (): CheckedCollateral => checkCollateral(collateralFromJson(forged.collateral), options.trustAnchor);
const edited = (edit: (scene: Scene) => void): Forged => {
  const other = goodScene();
  edit(other);
  return forge(other);
};

/** How many signatures a plan still leaves to check. */
const left = (quote: Uint8Array, collateral: CheckedCollateral): number =>
  planQuote(parseQuote(quote), collateral, options).signatures.length;

test("verifies by checked collateral as by the raw one, with fewer signatures left each time", () => {
  const collateral = checked();
  const raw = verifyQuote(forged.quote, collateralFromJson(forged.collateral), options);
  assert.equal(
    left(forged.quote, collateral),
    3,
    "the PCK certificate, the QE report, the quote: the PCK authority was checked with its revocation list",
  );
  for (let round = 0; round < 3; round++) assert.deepEqual(verifyQuote(forged.quote, collateral, options), raw);
  assert.equal(left(forged.quote, collateral), 2, "the QE report and the quote");
});

test("checks each signature of collateral once, though certificates stand in several chains", () => {
  const plan = planCollateral(collateralFromJson(forged.collateral), options.trustAnchor);
  assert.equal(plan.signatures.length, 7, "two lists, two documents, and three certificates below the root");
  assert.equal(new Set(plan.signatures).size, 7);
  const shared = edited((other) => {
    other.chains.qeIdentity = ["tcbSigner", "root"];
    other.signers.qeIdentity = "tcbSigner";
  });
  assert.equal(planCollateral(collateralFromJson(shared.collateral), options.trustAnchor).signatures.length, 6);
});

// Caching must never skip time, revocation, anchor or signature.
test("compares dates with the clock at each use", () => {
  const collateral = checked();
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
  const at = (now: number): string[] => failuresOf(verifyQuote(forged.quote, collateral, { ...options, now }));
  assert.deepEqual(at(scene.now + 30 * 86_400), ["collateral-fresh collateral-expired"]);
  assert.deepEqual(at(scene.now - 2 * 86_400), ["collateral-fresh collateral-not-yet-valid"]);
  assert.deepEqual(at(scene.now + 4001 * 86_400), [
    "trust-anchor certificate-expired",
    "collateral-fresh collateral-expired",
    "pck-crl certificate-expired",
    "tcb-info certificate-expired",
    "qe-identity certificate-expired",
    "pck-chain certificate-expired",
  ]);
  assert.deepEqual(
    collateral.checksAt(scene.now).map(({ name, result }) => [name, result]),
    [
      ["collateral-format", "pass"],
      ["trust-anchor", "pass"],
      ["collateral-fresh", "pass"],
      ["root-crl", "pass"],
      ["pck-crl", "pass"],
      ["tcb-info", "pass"],
      ["qe-identity", "pass"],
    ],
  );
  assert.equal(collateral.expiresAt, scene.now + 29 * 86_400);
  assert.ok(verifyQuote(forged.quote, collateral, options).ok, "and an expired moment leaves nothing behind");
});

test("judges a remembered PCK chain's dates each time", () => {
  const short = edited((other) => {
    other.certificates.pck.notAfter = other.now + 10;
  });
  const collateral = checkCollateral(collateralFromJson(short.collateral), options.trustAnchor);
  assert.ok(verifyQuote(short.quote, collateral, options).ok);
  assert.deepEqual(failuresOf(verifyQuote(short.quote, collateral, { ...options, now: scene.now + 11 })), [
    "pck-chain certificate-expired",
  ]);
});

test("judges a PCK chain by the revocation lists it is used with, whatever others said", () => {
  const before = checked();
  assert.ok(verifyQuote(forged.quote, before, options).ok);
  const revoked = edited((other) => {
    other.pckCrl.revoked = [102];
  });
  const after = checkCollateral(collateralFromJson(revoked.collateral), options.trustAnchor);
  for (let round = 0; round < 2; round++)
    assert.deepEqual(failuresOf(verifyQuote(forged.quote, after, options)), ["pck-chain certificate-revoked"]);
  const authority = edited((other) => {
    other.rootCrl.revoked = [101];
  });
  const gone = checkCollateral(collateralFromJson(authority.collateral), options.trustAnchor);
  for (let round = 0; round < 2; round++)
    assert.deepEqual(failuresOf(verifyQuote(forged.quote, gone, options)), [
      "pck-crl certificate-revoked",
      "pck-chain certificate-revoked",
    ]);
});

test("checks everything anew for another trust anchor", () => {
  const collateral = checked();
  const other = edited((strange) => {
    strange.certificates.root.key = "stranger";
    strange.certificates.root.signer = "stranger";
  });
  const strange = optionsOf(other);
  assert.equal(alreadyChecked(collateral, strange.trustAnchor), undefined);
  assert.deepEqual(failuresOf(verifyQuote(forged.quote, collateral, strange)), [
    "root-crl signature-invalid",
    "pck-crl revocation-list-mismatch",
    "tcb-info revocation-list-mismatch",
    "qe-identity revocation-list-mismatch",
    "pck-chain revocation-list-mismatch",
  ]);
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
});

test("takes two readings of the same root for one anchor, and each difference for another", () => {
  const collateral = checked();
  const again = trustAnchorFromPem(forged.rootPem);
  assert.equal(alreadyChecked(collateral, again), collateral);
  for (const change of [
    { kind: "intel" as const },
    { subject: Uint8Array.of(0x30, 0) },
    { publicKey: keyOf("stranger").publicPoint },
    { serial: "07" },
    { notBefore: 1 },
    { notAfter: 1 },
  ]) {
    assert.equal(alreadyChecked(collateral, { ...again, ...change }), undefined, JSON.stringify(change));
  }
});

test("does not take a copy with changes for what was checked", () => {
  const collateral = checked();
  const changed = { ...collateral, tcbInfo: collateral.tcbInfo.replace("OutOfDate", "UpToDate") };
  assert.equal(alreadyChecked(changed, options.trustAnchor), undefined);
  assert.deepEqual(failuresOf(verifyQuote(forged.quote, changed, options)), ["tcb-info signature-invalid"]);
  assert.equal("pckCertificateChain" in collateral, false);
  assert.deepEqual(collateralToJson(collateral), forged.collateral, "it carries the collateral it was made from");
});

test("keeps a bad signature bad", () => {
  for (const [signer, check] of [
    ["tcbInfo", "tcb-info"],
    ["qeIdentity", "qe-identity"],
  ] as const) {
    const bad = edited((other) => {
      other.signers[signer] = "stranger";
    });
    const collateral = checkCollateral(collateralFromJson(bad.collateral), options.trustAnchor);
    for (let round = 0; round < 2; round++)
      assert.deepEqual(failuresOf(verifyQuote(forged.quote, collateral, options)), [`${check} signature-invalid`]);
  }
});

test("counts a signature that nobody vouched for as bad", () => {
  const plan = planCollateral(collateralFromJson(forged.collateral), options.trustAnchor);
  const names = (holds: readonly boolean[]): string[] =>
    concludeCollateral(plan, holds)
      .checksAt(scene.now)
      .filter(({ result }) => result === "fail")
      .map(({ name }) => name);
  assert.deepEqual(names([]), ["root-crl", "pck-crl", "tcb-info", "qe-identity"]);
  assert.deepEqual(names(plan.signatures.map(() => true)), []);
  for (const index of plan.signatures.keys())
    assert.ok(
      names(plan.signatures.map((_, at) => at !== index)).length > 0,
      `signature ${index} of collateral decides`,
    );
  const quotePlan = planQuote(parseQuote(forged.quote), checked(), options);
  assert.equal(concludeQuote(quotePlan, []).ok, false);
  for (const index of quotePlan.signatures.keys())
    assert.equal(
      concludeQuote(
        quotePlan,
        quotePlan.signatures.map((_, at) => at !== index),
      ).ok,
      false,
      `signature ${index} of the quote decides`,
    );
  assert.equal(
    concludeQuote(
      quotePlan,
      quotePlan.signatures.map(() => true),
    ).ok,
    true,
  );
});

test("remembers no PCK chain that failed", () => {
  const stranger = edited((other) => {
    other.certificates.pck.signer = "stranger";
  });
  const collateral = checked();
  for (let round = 0; round < 2; round++)
    assert.deepEqual(failuresOf(verifyQuote(stranger.quote, collateral, options)), ["pck-chain signature-invalid"]);
  assert.equal(left(stranger.quote, collateral), 4, "its signatures are asked for again");
});

test("remembers no PCK chain for a quote that its platform did not sign", () => {
  const collateral = checked();
  const before = left(forged.quote, collateral);
  // The quote's signature, its attestation key, the QE report's signature (after 384 bytes of report).
  for (const at of [636, 700, 636 + 128 + 6 + 384]) {
    const changed = Uint8Array.from(forged.quote);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(verifyQuote(changed, collateral, options).ok, false);
    assert.equal(left(forged.quote, collateral), before, `byte ${at}`);
  }
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
  assert.equal(left(forged.quote, collateral), 2);
});

test("knows a PCK chain by its certificates, however its text is written", () => {
  const { certification } = parseQuote(forged.quote);
  assert.ok(certification.kind === "pem-chain");
  const pem = utf8Decode(certification.pem);
  const ders = (text: string): Uint8Array[] => readPem(text, "CERTIFICATE");
  const collateral = checked();
  assert.equal(collateral.provenPckChain(ders(pem)), undefined);
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
  assert.ok(collateral.provenPckChain(ders(`${pem.replaceAll("\n", "\r\n")}\n\n`)) !== undefined);
  assert.equal(collateral.provenPckChain(ders(pem).slice(0, 2)), undefined);
});

test("does not take a PCK authority's signature for another issuer's", () => {
  const collateral = checked();
  const orphan = edited((other) => {
    other.chains.pck = ["pckCa", "pckCa", "root"];
  });
  assert.deepEqual(failuresOf(verifyQuote(orphan.quote, collateral, options)), ["pck-chain certificate-malformed"]);
});

test("forgets the PCK chain that was used longest ago", () => {
  const collateral = checked();
  const platforms = Array.from(
    { length: 129 },
    (_, index) =>
      edited((other) => {
        other.certificates.pck.serial = 1000 + index;
      }).quote,
  );
  assert.ok(verifyQuote(platforms[0]!, collateral, options).ok);
  assert.ok(verifyQuote(platforms[1]!, collateral, options).ok);
  assert.ok(verifyQuote(platforms[0]!, collateral, options).ok);
  for (const quote of platforms.slice(2)) assert.ok(verifyQuote(quote, collateral, options).ok);
  assert.equal(left(platforms[0]!, collateral), 2, "used again, so kept");
  assert.equal(left(platforms[1]!, collateral), 4, "the oldest use went");
});

test("verifies quotes of one platform under changing attestation keys", () => {
  const collateral = checked();
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
  // Signed by the attestation key that was seen before, while naming another: neither may pass for the other.
  const changed = Uint8Array.from(forged.quote);
  changed.set(keyOf("stranger").publicPoint.subarray(1), 632 + 4 + 64);
  assert.deepEqual(failuresOf(verifyQuote(changed, collateral, options)), [
    "attestation-key attestation-key-unbound",
    "quote-signature signature-invalid",
  ]);
  assert.ok(verifyQuote(forged.quote, collateral, options).ok);
});

test("refuses keys that are no points of the curve, and signatures of other lengths", () => {
  const [signature] = planCollateral(collateralFromJson(forged.collateral), options.trustAnchor).signatures;
  assert.ok(signature !== undefined && signatureHolds(signature));
  for (const publicKey of [
    new Uint8Array(65),
    new Uint8Array(65).fill(4),
    new Uint8Array(0),
    signature.publicKey.subarray(0, 64),
  ])
    assert.equal(signatureHolds({ ...signature, publicKey }), false);
  for (const bytes of [new Uint8Array(0), new Uint8Array(64), signature.signature.subarray(0, 63), new Uint8Array(65)])
    assert.equal(signatureHolds({ ...signature, signature: bytes }), false);
  assert.equal(signatureHolds({ ...signature, message: signature.message.subarray(1) }), false);
});

test("refuses malformed quotes and collateral with a value, naming the check", () => {
  const malformedQuote = verifyQuote(forged.quote.subarray(0, 100), checked(), options);
  assert.deepEqual(
    malformedQuote.checks.map(({ name, code }) => [name, code]),
    [["quote-format", "quote-malformed"]],
  );
  const malformedCollateral = verifyQuote(
    forged.quote,
    { ...collateralFromJson(forged.collateral), pckCrl: new Uint8Array(3) },
    options,
  );
  assert.deepEqual(
    malformedCollateral.checks.map(({ name, result, code }) => [name, result, code]),
    [
      ["quote-format", "pass", undefined],
      ["collateral-format", "fail", "collateral-malformed"],
    ],
  );
  assert.equal(malformedCollateral.ok ? "" : malformedCollateral.reason.split(":")[0], "collateral-format");
});
