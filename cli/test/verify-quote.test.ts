import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { collateralToJson, intelTrustAnchor, parsePolicy, trustAnchorFromPem, type TrustAnchor } from "@dstack/attest";
import { parseHex, toHex, utf8 } from "@dstack/bytes";
import { collateralAt, makeImage, makeEvidence, newPki, NOW } from "../../libs/verify/test/mock-app.ts";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { verifyQuoteFile, type QuoteInput, type QuoteResult } from "../src/verify/judge-quote.ts";
import { recordedVectors } from "../../tests/vectors/vector-sets.ts";

interface Expect {
  readonly ok: boolean;
  readonly status?: string;
  readonly advisory_ids?: readonly string[];
  readonly platform_status?: string;
  readonly qe_status?: string;
  readonly tcb_date?: string;
  readonly fmspc?: string;
  readonly ppid?: string;
}

function verify(quote: Uint8Array, collateral: Uint8Array, now: number, change: Partial<QuoteInput> = {}): QuoteResult {
  return verifyQuoteFile({
    quote,
    collateral,
    now,
    trustAnchor: intelTrustAnchor(),
    tcbRules: "intel",
    policy: undefined,
    ...change,
  });
}

function assertExpected(result: QuoteResult, expect: Expect, id: string): void {
  const why = result.checks
    .filter(({ result: outcome }) => outcome === "fail")
    .map(({ name, reason }) => `${name}: ${reason}`)
    .join("; ");
  assert.equal(result.ok, expect.ok, `${id}: ${why}`);
  if (!expect.ok) {
    assert.equal(result.status, null);
    assert.ok(why !== "", id);
    return;
  }
  for (const name of ["status", "advisory_ids", "platform_status", "qe_status", "tcb_date", "fmspc", "ppid"] as const) {
    if (expect[name] !== undefined) assert.deepEqual(result[name], expect[name], `${id}: ${name}`);
  }
}

describe("verify quote, on recorded and made-up quotes", () => {
  if (recordedVectors === undefined) return;
  const { bytes: read, json, names } = recordedVectors;
  const pairs = json<
    {
      id: string;
      quote: string;
      collateral: string;
      verify_at_unix: number;
      expect: Expect;
      decoded: Record<string, unknown>;
    }[]
  >("attestation/pairs.json");
  for (const { id, quote, collateral, verify_at_unix: now, expect, decoded } of pairs) {
    test(id, () => {
      const bytes = read(`attestation/${quote}`);
      const documents = read(`attestation/${collateral}`);
      const result = verify(bytes, documents, now);
      assertExpected(result, expect, id);
      assert.deepEqual(verify(utf8(`${toHex(bytes)}\n`), documents, now), result, "hex and binary are the same");
      assert.equal(result.fields["report_data"], decoded["report_data"]);
      assert.equal(result.fields["version"], decoded["version"]);
      assert.equal(verify(bytes, documents, now - 20 * 365 * 86_400).ok, false, "before its time");
      assert.equal(verify(bytes, documents, now + 20 * 365 * 86_400).ok, false, "after its time");
      assert.equal(
        verify(bytes, documents, now, { trustAnchor: trustAnchorFromPem(newPki().rootPem) }).ok,
        false,
        "another root",
      );
    });
  }

  const synthetic = names("attestation/synthetic");
  for (const file of synthetic) {
    test(file.replace(".json", ""), () => {
      const vector = json<{
        quote_hex: string;
        collateral: unknown;
        verify_at_unix: number;
        root_ca_pem: string;
        expect: Expect;
      }>(`attestation/synthetic/${file}`);
      const result = verify(
        parseHex(vector.quote_hex),
        utf8(JSON.stringify(vector.collateral)),
        vector.verify_at_unix,
        { trustAnchor: trustAnchorFromPem(vector.root_ca_pem) },
      );
      assertExpected(result, vector.expect, file);
    });
  }

  test("the reference's rules change the status of a cloud guest, and nothing else", () => {
    const vector = json<{
      quote_hex: string;
      collateral: unknown;
      verify_at_unix: number;
      root_ca_pem: string;
    }>("attestation/synthetic/module1-skips-svn01.json");
    const run = (tcbRules: "intel" | "reference"): QuoteResult =>
      verify(parseHex(vector.quote_hex), utf8(JSON.stringify(vector.collateral)), vector.verify_at_unix, {
        trustAnchor: trustAnchorFromPem(vector.root_ca_pem),
        tcbRules,
      });
    assert.deepEqual([run("intel").status, run("reference").status], ["UpToDate", "OutOfDate"]);
  });
});

describe("verify quote, on files that are wrong", () => {
  const pki = newPki();
  const anchor: TrustAnchor = trustAnchorFromPem(pki.rootPem);
  const documents = utf8(JSON.stringify(collateralToJson(collateralAt(pki))));
  const failed = (result: QuoteResult): string[] =>
    result.checks.filter(({ result: outcome }) => outcome === "fail").map(({ name }) => name);

  test("says which file cannot be read, and why", async () => {
    const folder = await mkdtemp(join(tmpdir(), "verify-quote-"));
    const { quote } = makeEvidence(await makeImage(folder), { pki }).attestation.platform;
    await rm(folder, { recursive: true });
    const run = (bytes: Uint8Array, collateral: Uint8Array, change: Partial<QuoteInput> = {}): QuoteResult =>
      verify(bytes, collateral, NOW, { trustAnchor: anchor, ...change });
    assert.equal(run(quote, documents).ok, true);
    assert.deepEqual(failed(run(new Uint8Array(0), documents)), ["quote-format"]);
    assert.deepEqual(failed(run(utf8("not hex"), documents)), ["quote-format"]);
    assert.deepEqual(failed(run(quote.subarray(0, 700), documents)), ["quote-format"]);
    for (const collateral of ["", "{", "[]", "{}", "null"])
      assert.deepEqual(failed(run(quote, utf8(collateral))), ["collateral-format"], collateral);
    assert.deepEqual(run(new Uint8Array(0), documents).fields, {});
    assert.match(run(quote, utf8("{}")).checks.at(-1)?.reason ?? "", /pck_crl_issuer_chain/);
    const policy = run(quote, documents, { policy: parsePolicy({ accepted_fmspcs: ["111111111111"] }) });
    assert.deepEqual([policy.ok, failed(policy)], [false, ["policy-platform"]]);
  });
});
