import assert from "node:assert/strict";
import { test } from "node:test";
import { AttestError, collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
import type { QuoteVerification } from "@dstack/attest";
import * as node from "@dstack/attest/node";
import * as web from "@dstack/attest/web";
import { forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import type { Forged, Scene } from "../../../tests/forge/forged-evidence.ts";

const forged = (edit: (scene: Scene) => void = () => undefined): Forged => {
  const scene = goodScene();
  edit(scene);
  return forge(scene);
};
const brief = (result: QuoteVerification): unknown => [result.ok, result.checks];

const CASES: Readonly<Record<string, Forged>> = {
  good: forged(),
  "quote signed by a stranger": forged((scene) => {
    scene.signers.quote = "stranger";
  }),
  "TCB info signed by a stranger": forged((scene) => {
    scene.signers.tcbInfo = "stranger";
  }),
  "PCK certificate signed by a stranger": forged((scene) => {
    scene.certificates.pck.signer = "stranger";
  }),
  "no quote": { ...forged(), quote: new Uint8Array(10) },
  "collateral that cannot be read": { ...forged(), collateral: { ...forged().collateral, tcb_info: "{}" } },
};

for (const [name, { quote, collateral: json, rootPem, now }] of Object.entries(CASES)) {
  test(`WebCrypto and node:crypto come to the same checks: ${name}`, async () => {
    const collateral = collateralFromJson(json);
    const options = { now, trustAnchor: trustAnchorFromPem(rootPem) };
    const expected = node.verifyQuote(quote, collateral, options);
    assert.equal(expected.ok, name === "good");
    assert.deepEqual(brief(await web.verifyQuote(quote, collateral, options)), brief(expected));
    if (name === "collateral that cannot be read") {
      await assert.rejects(
        web.checkCollateral(collateral, options.trustAnchor),
        (error) => error instanceof AttestError && error.code === "collateral-malformed",
      );
      return;
    }
    const checked = await web.checkCollateral(collateral, options.trustAnchor);
    for (let round = 0; round < 2; round++)
      assert.deepEqual(brief(await web.verifyQuote(quote, checked, options)), brief(expected));
  });
}

test("a key that is no point of the curve holds nothing, and neither does a signature of another length", async () => {
  const plan = {
    what: "nothing",
    publicKey: new Uint8Array(65).fill(4),
    message: new Uint8Array(1),
    signature: new Uint8Array(64),
  };
  assert.equal(await web.signatureHolds(plan), false);
  assert.equal(node.signatureHolds(plan), false);
});

test("says that WebCrypto needs a secure context where there is none", async () => {
  const { quote, collateral, rootPem, now } = forged();
  const given = Object.getOwnPropertyDescriptor(globalThis, "crypto") ?? {};
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  try {
    const pending = web.verifyQuote(quote, collateralFromJson(collateral), {
      now,
      trustAnchor: trustAnchorFromPem(rootPem),
    });
    await assert.rejects(pending, (error) => error instanceof AttestError && error.code === "webcrypto-unavailable");
  } finally {
    Object.defineProperty(globalThis, "crypto", given);
  }
});
