import assert from "node:assert/strict";
import { test } from "node:test";
import type { CsrConfig } from "@dstack/ratls";
import { ownNameIn } from "../src/certificates/own-names.ts";

const OWN = ["kms.example.com", "kms-2.example.net", "10.0.2.2", "2001:db8::1"];
const asking = (subject: string, ...altNames: string[]): CsrConfig => ({ subject, altNames }) as unknown as CsrConfig;

for (const [name, ownName] of [
  ["kms.example.com", "kms.example.com"],
  ["KMS.Example.COM.", "kms.example.com"],
  ["*.example.com", "kms.example.com"],
  ["k*.example.com", "kms.example.com"],
  ["*", undefined],
  ["*.*.com", "kms.example.com"],
  ["*.example.net", "kms-2.example.net"],
  ["kms-2.example.net", "kms-2.example.net"],
  ["\u{ff4b}\u{ff4d}\u{ff53}.example.com", "kms.example.com"],
  ["10.0.2.2", "10.0.2.2"],
  ["10.2.2", undefined],
  ["10.0.514", "10.0.2.2"],
  ["0xa000202", "10.0.2.2"],
  ["::ffff:10.0.2.2", "10.0.2.2"],
  ["2001:db8:0::1", "2001:db8::1"],
  ["2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"],
  ["kms.example.org", undefined],
  ["www.example.com", undefined],
  ["*.kms.example.com", undefined],
  ["*.apps.example.com", undefined],
  ["10.0.2.3", undefined],
  ["2001:db8::2", undefined],
] as const) {
  test(`a certificate for ${name} ${ownName === undefined ? "is for no name of ours" : `would pass for ${ownName}`} (DS #1255)`, () => {
    assert.deepEqual(
      ownNameIn(asking("app", "app.example.org", name), OWN),
      ownName === undefined ? undefined : { field: "subject_alt_names", ownName },
    );
    assert.deepEqual(ownNameIn(asking(name), OWN), ownName === undefined ? undefined : { field: "subject", ownName });
  });
}
