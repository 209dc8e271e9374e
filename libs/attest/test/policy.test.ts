import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AttestError,
  collateralFromJson,
  evaluatePolicy,
  parsePolicy,
  parseQuote,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { Attestation, QuoteClaims, QuotePolicy } from "@dstack/attest";
import { fixedCollateral, verifyAttestation } from "@dstack/attest/node";
import { ENCLAVE, forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import { failuresOf, verifyScene } from "./forged.ts";

const DAY = 86_400;
const DATE = "2029-08-14T00:00:00Z";
const dated = Date.parse(DATE) / 1000;

/** OutOfDate, with advisory FORGED-SA-00002. */
function outdated(): QuoteClaims {
  const scene = goodScene();
  scene.qeReport[ENCLAVE.isvSvn] = 4;
  const verification = verifyScene(scene);
  assert.ok(verification.ok && verification.status === "OutOfDate");
  return verification;
}

/** Of the platform; what is asked of documents stands in policy-file.test.ts. */
const results = (policy: QuotePolicy, now = dated): string[] =>
  evaluatePolicy(outdated(), policy, now)
    .filter(({ name }) => name !== "policy-collateral")
    .map(({ result, code }) => (code === undefined ? result : code));

test("demands nothing without a policy's members", () => {
  assert.deepEqual(results({}), ["not applicable", "not applicable", "not applicable"]);
});

const rows: readonly (readonly [string, QuotePolicy, number, readonly string[]])[] = [
  [
    "accepts a listed status",
    { acceptedStatuses: ["UpToDate", "OutOfDate"] },
    dated,
    ["pass", "not applicable", "not applicable"],
  ],
  [
    "refuses a status that is not listed",
    { acceptedStatuses: ["UpToDate"] },
    dated,
    ["policy-status", "not applicable", "not applicable"],
  ],
  [
    "refuses every status where none is listed",
    { acceptedStatuses: [] },
    dated,
    ["policy-status", "not applicable", "not applicable"],
  ],
  [
    "accepts an outdated status to the last second of its grace",
    { acceptedStatuses: ["UpToDate"], graceDays: 30 },
    dated + 30 * DAY,
    ["pass", "not applicable", "not applicable"],
  ],
  [
    "refuses an outdated status after its grace",
    { acceptedStatuses: ["UpToDate"], graceDays: 30 },
    dated + 30 * DAY + 1,
    ["policy-status", "not applicable", "not applicable"],
  ],
  [
    "refuses an outdated status where the time cannot be told",
    { acceptedStatuses: ["UpToDate"], graceDays: 30 },
    Number.NaN,
    ["policy-status", "not applicable", "not applicable"],
  ],
  [
    "accepts listed advisories",
    { acceptedAdvisories: ["FORGED-SA-00002", "X"] },
    dated,
    ["not applicable", "pass", "not applicable"],
  ],
  [
    "refuses an advisory that is not listed",
    { acceptedAdvisories: ["FORGED-SA-00001"] },
    dated,
    ["not applicable", "policy-advisory", "not applicable"],
  ],
  [
    "accepts a listed PPID",
    { acceptedPpids: [new Uint8Array(16), bytes("00112233445566778899aabbccddeeff")] },
    dated,
    ["not applicable", "not applicable", "pass"],
  ],
  [
    "refuses another PPID",
    { acceptedPpids: [new Uint8Array(16)] },
    dated,
    ["not applicable", "not applicable", "policy-platform"],
  ],
  [
    "accepts a listed FMSPC",
    { acceptedFmspcs: [bytes("90c06f000000")] },
    dated,
    ["not applicable", "not applicable", "pass"],
  ],
  [
    "refuses another FMSPC, also on a listed PPID",
    { acceptedPpids: [bytes("00112233445566778899aabbccddeeff")], acceptedFmspcs: [new Uint8Array(6)] },
    dated,
    ["not applicable", "not applicable", "policy-platform"],
  ],
];

for (const [what, policy, now, expected] of rows) {
  test(what, () => assert.deepEqual(results(policy, now), expected));
}

test("gives grace for being outdated alone", () => {
  const claims: QuoteClaims = { ...outdated(), status: "ConfigurationNeeded" };
  const [status] = evaluatePolicy(claims, { acceptedStatuses: ["UpToDate"], graceDays: 10_000 }, dated);
  assert.equal(status?.code, "policy-status");
});

test("gives grace for being outdated and in need of configuration", () => {
  const claims: QuoteClaims = { ...outdated(), status: "OutOfDateConfigurationNeeded" };
  assert.equal(evaluatePolicy(claims, { acceptedStatuses: [], graceDays: 1 }, dated)[0]?.result, "pass");
});

test("counts grace from the earliest date among the matched levels", () => {
  const claims: QuoteClaims = { ...outdated(), earliestTcbDate: "2029-08-01T00:00:00Z" };
  const [status] = evaluatePolicy(claims, { acceptedStatuses: ["UpToDate"], graceDays: 5 }, dated);
  assert.equal(status?.code, "policy-status");
});

test("says what was expected and what came", () => {
  const [status, advisories, platform] = evaluatePolicy(
    outdated(),
    { acceptedStatuses: ["UpToDate", "SWHardeningNeeded"], acceptedAdvisories: [], acceptedPpids: [] },
    dated,
  );
  assert.equal(
    status?.reason,
    "TCB status OutOfDate, expected UpToDate or SWHardeningNeeded: UpToDate (2029-08-14) needs QE SVN at 8 (has 4) by " +
      "an update of Intel's quoting enclave; by TCB evaluation 17, issued 2030-06-14T00:00:00Z",
  );
  assert.equal(advisories?.reason, "advisories FORGED-SA-00002 apply, expected at most none");
  assert.equal(
    platform?.reason,
    "PPID 00112233445566778899aabbccddeeff, expected one of the 0 that the policy accepts",
  );
});

test("makes the policy part of a quote's verdict", () => {
  const good = goodScene();
  const policy: QuotePolicy = { acceptedStatuses: ["UpToDate"], acceptedAdvisories: [] };
  const accepted = verifyScene(good, { policy });
  assert.ok(accepted.ok);
  assert.deepEqual(
    accepted.checks.slice(-4).map(({ name, result }) => [name, result]),
    [
      ["policy-tcb-status", "pass"],
      ["policy-advisories", "pass"],
      ["policy-platform", "not applicable"],
      ["policy-collateral", "not applicable"],
    ],
  );
  good.qeReport[ENCLAVE.isvSvn] = 4;
  assert.deepEqual(failuresOf(verifyScene(good, { policy })), [
    "policy-tcb-status policy-status",
    "policy-advisories policy-advisory",
  ]);
});

test("asks the same of a quote inside an attestation", async () => {
  const scene = goodScene();
  scene.qeReport[ENCLAVE.isvSvn] = 4;
  const { quote, collateral, rootPem, now } = forge(scene);
  const attestation: Attestation = {
    platform: { kind: "tdx", quote, eventLog: [] },
    runtimeEvents: [],
    reportData: parseQuote(quote).body.reportData,
    config: "",
  };
  const options = {
    collateralSource: fixedCollateral(collateralFromJson(collateral)),
    now,
    trustAnchor: trustAnchorFromPem(rootPem),
  };
  const codesWith = async (policy: QuotePolicy): Promise<unknown[]> =>
    (await verifyAttestation(attestation, { ...options, policy })).checks
      .filter(({ name }) => name === "policy-tcb-status")
      .map(({ result, code }) => code ?? result);
  assert.deepEqual(await codesWith({ acceptedStatuses: ["UpToDate"] }), ["policy-status"]);
  assert.deepEqual(await codesWith({ acceptedStatuses: ["OutOfDate"] }), ["pass"]);
});

test("reads a policy, each of its members optional", () => {
  assert.deepEqual(parsePolicy({ min_tcb_evaluation_number: 17 }), { minEvaluationNumber: 17 });
  assert.deepEqual(
    parsePolicy({
      accepted_statuses: ["UpToDate"],
      grace_days: 0,
      accepted_advisories: ["INTEL-SA-00960"],
      accepted_ppids: ["00".repeat(16)],
      accepted_fmspcs: ["B0C06F000000"],
    }),
    {
      acceptedStatuses: ["UpToDate"],
      graceDays: 0,
      acceptedAdvisories: ["INTEL-SA-00960"],
      acceptedPpids: [new Uint8Array(16)],
      acceptedFmspcs: [bytes("b0c06f000000")],
    },
  );
});

const malformed: readonly (readonly [string, unknown, RegExp])[] = [
  ["null", null, /expected an object/],
  ["a list", [], /expected an object/],
  ["a member nobody knows", { accepted_status: [] }, /unknown member "accepted_status", expected accepted_statuses/],
  ["a status nobody knows", { accepted_statuses: ["Fine"] }, /"Fine" is no TCB status/],
  ["revoked as acceptable", { accepted_statuses: ["Revoked"] }, /"Revoked" is no TCB status that can be accepted/],
  ["a list that is none", { accepted_statuses: "UpToDate" }, /expected a list/],
  ["a list of numbers", { accepted_advisories: [1] }, /expected a list/],
  ["a list above its limit", { accepted_advisories: Array(10_001).fill("x") }, /at most 10000/],
  ["negative grace", { grace_days: -1 }, /whole number of days/],
  ["grace in parts of days", { grace_days: 0.5 }, /whole number of days/],
  ["grace as text", { grace_days: "1" }, /whole number of days/],
  ["a PPID of 15 bytes", { accepted_ppids: ["00".repeat(15)] }, /expected 16 bytes, got 15/],
  ["an FMSPC that is not hex", { accepted_fmspcs: ["zz"] }, /not hexadecimal/],
];

for (const [what, value, says] of malformed) {
  test(`refuses a policy with ${what}`, () => {
    assert.throws(
      () => parsePolicy(value),
      (error: unknown) => error instanceof AttestError && error.code === "policy-malformed" && says.test(error.message),
    );
  });
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
