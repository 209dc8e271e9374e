/** What the policy file asks of documents and machines, how it is read, and until when a verdict is good. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AttestError,
  describePolicy,
  evaluatePolicy,
  parsePolicyText,
  POLICY_MEMBERS,
  warningsOf,
} from "@dstack/attest";
import type { QuotePolicy, QuoteVerification } from "@dstack/attest";
import { ENCLAVE, goodScene } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import { failuresOf, verifyScene } from "./forged.ts";

const DAY = 86_400;
const { now } = goodScene();
const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");

/** Documents of these ages in days, each valid for 30. */
function aged(ages: Partial<Record<"tcbInfo" | "qeIdentity" | "pckCrl" | "rootCrl", number>>): Scene {
  const scene = goodScene();
  for (const name of ["tcbInfo", "qeIdentity"] as const) {
    const age = ages[name] ?? 1;
    Object.assign(scene[name], { issueDate: iso(now - age * DAY), nextUpdate: iso(now + (30 - age) * DAY) });
  }
  for (const name of ["pckCrl", "rootCrl"] as const) {
    const age = ages[name] ?? 1;
    Object.assign(scene[name], { thisUpdate: now - age * DAY, nextUpdate: now + (30 - age) * DAY });
  }
  return scene;
}
const policy = (value: unknown): QuotePolicy => parsePolicyText(JSON.stringify(value));
const good = (verification: QuoteVerification): Extract<QuoteVerification, { ok: true }> => {
  assert.ok(verification.ok, verification.ok ? "" : verification.reason);
  return verification;
};

for (const [kind, name, says] of [
  ["pck_crl", "pckCrl", "PCK CRL"],
  ["root_ca_crl", "rootCrl", "root CRL"],
  ["tcb_info", "tcbInfo", "TCB info"],
  ["qe_identity", "qeIdentity", "QE identity"],
] as const) {
  test(`a limit to the age of a ${says} warns first and then refuses, and counts for no other (SECURITY #613)`, () => {
    const limits = policy({ max_collateral_age: { [kind]: { warn_days: 8, max_days: 12 } } });
    const at = (days: number, of = name): QuoteVerification => verifyScene(aged({ [of]: days }), { policy: limits });
    assert.deepEqual(warningsOf(good(at(8)).checks), [], "to the last second");
    const [warning, ...more] = warningsOf(good(at(12)).checks);
    assert.equal(
      warning,
      `${says} of ${iso(now - 12 * DAY)} is 12.0 days old; the policy warns after 8, and refuses after 12`,
    );
    assert.deepEqual(more, []);
    const refused = at(12 + 1 / DAY);
    assert.deepEqual(failuresOf(refused), ["policy-collateral policy-collateral"]);
    assert.match(refused.ok ? "" : refused.reason, /is 12\.0 days old, the policy takes 12 days at most$/);
    const other = name === "pckCrl" ? "rootCrl" : "pckCrl";
    assert.deepEqual(warningsOf(good(at(20, other)).checks), []);
  });
}

test("without max_days a limit only warns, and without a policy nobody asks for an age: 7.4 days pass", () => {
  const warning = policy({ max_collateral_age: { pck_crl: { warn_days: 7 } } });
  const { checks } = good(verifyScene(aged({ pckCrl: 29 }), { policy: warning }));
  assert.match(warningsOf(checks).join(), /29\.0 days old; the policy warns after 7$/);
  assert.deepEqual(warningsOf(good(verifyScene(aged({ pckCrl: 7.4 }))).checks), []);
});

test("an age that cannot be told is refused", () => {
  const claims = good(verifyScene(goodScene()));
  const limits = policy({ max_collateral_age: { pck_crl: { warn_days: 1, max_days: 2 } } });
  assert.equal(evaluatePolicy(claims, limits, Number.NaN).at(-1)?.code, "policy-collateral");
});

test("a least evaluation number looks at TCB info and QE identity both (SECURITY #613)", () => {
  const asked = (min: number): string[] =>
    failuresOf(verifyScene(goodScene(), { policy: policy({ min_tcb_evaluation_number: min }) }));
  assert.deepEqual(asked(17), []);
  assert.deepEqual(asked(18), ["policy-collateral policy-collateral"]);
  const claims = good(verifyScene(goodScene()));
  for (const kind of ["tcb_info", "qe_identity"] as const) {
    const documents = claims.documents.map((document) =>
      document.kind === kind ? { ...document, number: 16n } : document,
    );
    const check = evaluatePolicy({ ...claims, documents }, policy({ min_tcb_evaluation_number: 17 }), now).at(-1);
    assert.match(check?.reason ?? "", /is of evaluation 16, the policy asks for 17 at least/, kind);
  }
});

test("a machine that the policy denies is refused, also where it is accepted (SECURITY TEE.fail)", () => {
  const ppid = "00112233445566778899AABBCCDDEEFF";
  const judged = (fields: unknown): string[] => failuresOf(verifyScene(goodScene(), { policy: policy(fields) }));
  assert.deepEqual(judged({ denied_ppids: [ppid] }), ["policy-platform policy-platform"]);
  assert.deepEqual(judged({ denied_ppids: [ppid], accepted_ppids: [ppid] }), ["policy-platform policy-platform"]);
  assert.deepEqual(judged({ denied_ppids: ["00".repeat(16)] }), []);
  assert.deepEqual(judged({ denied_ppids: ["00".repeat(16)], accepted_ppids: [ppid] }), []);
});

test("a verdict is good until the first end of a document, a certificate or what the policy takes", () => {
  const until = (scene: Scene, fields?: unknown): number =>
    good(verifyScene(scene, fields === undefined ? {} : { policy: policy(fields) })).goodUntil;
  assert.equal(until(aged({ qeIdentity: 20 })), now + 10 * DAY);
  const shortLeaf = goodScene();
  shortLeaf.certificates.pck.notAfter = now + 3 * DAY;
  assert.equal(until(shortLeaf), now + 3 * DAY);
  const ages = { max_collateral_age: { pck_crl: { warn_days: 5, max_days: 8 }, tcb_info: { warn_days: 6 } } };
  assert.equal(until(aged({ pckCrl: 2 }), ages), now + 6 * DAY);
  const outdated = goodScene();
  outdated.qeReport[ENCLAVE.isvSvn] = 4;
  const dated = Date.parse("2029-08-14T00:00:00Z") / 1000;
  assert.equal(until(outdated, { accepted_statuses: ["UpToDate"], grace_days: 310 }), dated + 310 * DAY);
  assert.equal(until(outdated, { accepted_statuses: ["OutOfDate"], grace_days: 310 }), now + 29 * DAY);
  assert.equal(until(goodScene(), { accepted_statuses: ["UpToDate"], grace_days: 310 }), now + 29 * DAY);
});

test("reads every member, in any of its forms", () => {
  const lists = { accepted_statuses: ["UpToDate"], accepted_advisories: [], accepted_fmspcs: ["00".repeat(6)] };
  const machines = { accepted_ppids: ["00".repeat(16)], denied_ppids: ["0x" + "01".repeat(16)] };
  const whole = {
    ...lists,
    ...machines,
    grace_days: 30,
    min_tcb_evaluation_number: 17,
    max_collateral_age: { qe_identity: { warn_days: 0.5, max_days: 1 } },
  };
  assert.deepEqual(Object.keys(whole).toSorted(), Object.keys(POLICY_MEMBERS).toSorted());
  const read = policy(whole);
  assert.deepEqual(Object.keys(read).length, Object.keys(whole).length);
  assert.deepEqual(read.maxCollateralAge, { qe_identity: { warnDays: 0.5, maxDays: 1 } });
  assert.equal(
    describePolicy(read),
    "status UpToDate; outdated for 30 days at most; advisories among 0 that are accepted; one of 1 machines; none of 1 machines; one of 1 FMSPCs; evaluation 17 or later; qe_identity of 1 days at most",
  );
  assert.equal(
    describePolicy(policy({ accepted_statuses: [], max_collateral_age: { pck_crl: { warn_days: 7 } } })),
    "status none; pck_crl warned of after 7 days",
  );
  assert.equal(describePolicy(undefined), "nothing beyond genuine evidence");
});

test("a policy that would demand nothing is refused: days of grace without a status, what is empty", () => {
  for (const [text, says] of [
    ["{}", /policy: demands nothing: name a member/],
    ['{"grace_days":1}', /grace_days: demands nothing without accepted_statuses/],
    ['{"grace_days":1,"min_tcb_evaluation_number":17}', /grace_days: demands nothing without accepted_statuses/],
    ['{"max_collateral_age":{}}', /max_collateral_age: an empty table limits nothing; expected root_ca_crl/],
    ['{"accepted_statuses":["UpToDate"],"denied_ppids":[]}', /denied_ppids: an empty list denies nothing/],
  ] as const)
    assert.throws(
      () => parsePolicyText(text),
      (error: unknown) => error instanceof AttestError && error.code === "policy-malformed" && says.test(error.message),
      text,
    );
  for (const list of ["accepted_statuses", "accepted_advisories", "accepted_ppids", "accepted_fmspcs"])
    assert.ok(policy({ [list]: [] }), "accepts nothing, which is a demand");
});

test("a policy is read strictly: what is not known or makes no sense is refused by name", () => {
  const limits = (limit: unknown): string => JSON.stringify({ max_collateral_age: { pck_crl: limit } });
  for (const [text, says] of [
    ["", /policy: file: not valid JSON/],
    ["[]", /expected an object/],
    ['{"grace_days":1,"grace_days":2}', /"grace_days" is said twice/],
    ['{"max_colateral_age":{}}', /unknown member "max_colateral_age", expected accepted_statuses, /],
    ['{"max_collateral_age":{"crl":{}}}', /max_collateral_age: unknown member "crl", expected root_ca_crl, pck_crl/],
    ['{"max_collateral_age":30}', /max_collateral_age: expected an object/],
    [limits({ max_days: 9 }), /max_collateral_age\.pck_crl\.warn_days: expected a number of days: a limit warns/],
    [limits({ warn_days: 9, max_days: 9 }), /max_days: expected a number of days above warn_days, 9/],
    [limits({ warn_days: 0 }), /warn_days/],
    [limits({ warn_days: "9" }), /warn_days/],
    [limits({ warn_days: 9, days: 10 }), /pck_crl: unknown member "days", expected warn_days, max_days/],
    ['{"min_tcb_evaluation_number":"17"}', /min_tcb_evaluation_number: expected a whole number/],
    ['{"min_tcb_evaluation_number":-1}', /min_tcb_evaluation_number/],
    ['{"denied_ppids":["00"]}', /denied_ppids/],
    ['{"denied_ppids":"00"}', /denied_ppids: expected a list/],
  ] as const)
    assert.throws(
      () => parsePolicyText(text),
      (error: unknown) => {
        assert.ok(error instanceof AttestError && error.code === "policy-malformed", text);
        assert.match(error.message, says, text);
        return true;
      },
    );
});
