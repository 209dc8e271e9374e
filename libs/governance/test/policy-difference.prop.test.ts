import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  changeDocument,
  diffDocuments,
  policyLines,
  type PolicyChange,
  type PolicyDifference,
  type PolicyDocument,
} from "../src/index.ts";

const hash = fc.integer({ min: 0, max: 3 }).map((n) => `0x${String(n).repeat(64)}`);
const list = fc.array(hash, { maxLength: 3 });
const sparse = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const rule = fc.record({ composeHashes: list, devices: list, allowAnyDevice: fc.boolean() }, { requiredKeys: [] });
const document: fc.Arbitrary<PolicyDocument> = fc
  .record({
    gatewayAppId: sparse(hash),
    osImages: sparse(list),
    allowedTcbStatuses: sparse(fc.array(fc.constantFrom("UpToDate", "OutOfDate"), { maxLength: 3 })),
    allowedAdvisoryIds: sparse(fc.array(fc.constantFrom("SA-1", "SA-2", "sa-1"), { maxLength: 3 })),
    kms: sparse(fc.record({ mrAggregated: list, devices: list, allowAnyDevice: fc.boolean() }, { requiredKeys: [] })),
    apps: sparse(fc.dictionary(fc.constantFrom("0xaa", "0xbb", "0xCC"), rule, { maxKeys: 3 })),
  })
  .map((policy) => JSON.parse(JSON.stringify(policy)) as PolicyDocument);

/** What no change of a policy makes: that a list is there and empty, and a KMS on any device. */
const isBeyondChanges = ({ kind }: PolicyDifference): boolean => kind === "empty-list" || kind === "kms-any-device";

function changesOf(difference: PolicyDifference): PolicyChange[] {
  if (difference.kind === "gateway") return [{ kind: "gateway", value: difference.after ?? "" }];
  return difference.kind === "empty-list" || difference.kind === "kms-any-device" ? [] : [difference];
}

test("the changes that set two policies apart, made, leave nothing that a change could make", () => {
  fc.assert(
    fc.property(document, document, (before, after) => {
      const made = diffDocuments(before, after).flatMap(changesOf).reduce(changeDocument, before);
      const left = diffDocuments(made, after).filter((difference) => !isBeyondChanges(difference));
      // A file without a gateway and one that names none are told apart, and mean the same.
      const told = left.filter(({ kind }) => kind !== "gateway" || after.gatewayAppId !== undefined);
      assert.deepEqual(told, []);
    }),
  );
});

test("the lines of a difference turn round with its direction, and are none for a policy and itself", () => {
  fc.assert(
    fc.property(document, document, (before, after) => {
      const lines = (from: PolicyDocument, to: PolicyDocument, sign: "+" | "-"): string[] =>
        policyLines(diffDocuments(from, to))
          .filter((line) => line.sign === sign)
          .map(({ path, value }) => `${path} ${value}`);
      assert.deepEqual(lines(before, after, "+"), lines(after, before, "-"));
      assert.deepEqual(diffDocuments(before, before), []);
    }),
  );
});
