import assert from "node:assert/strict";
import { customReportData, intelTrustAnchor } from "@dstack/attest";
import { parseHex, toHex, utf8 } from "@dstack/bytes";
import type { VerifyContext } from "../src/verify/context.ts";
import { judgeCertificateKey, listedKey } from "../src/verify/gateway-keys.ts";
import { AcmeInfo } from "../src/verify/subject.ts";
import { vectorTest } from "../../tests/vectors/vector-sets.ts";

vectorTest(
  "a gateway's list is read, and its broken quote refused by its reason",
  "gateway/ct/acme-info.json",
  async ({ json }) => {
    const info = AcmeInfo.parse(json("gateway/ct/acme-info.json"));
    const key = parseHex(info.quoted_hist_keys[0]!.public_key);
    const entry = listedKey(info, key);
    assert.ok(entry !== undefined);
    const context: VerifyContext = {
      now: 0,
      trustAnchor: intelTrustAnchor(),
      rootFile: undefined,
      collateralSource: { collateralFor: () => Promise.reject(new Error("not asked")) },
      images: { find: () => Promise.reject(new Error("not asked")) },
      policy: undefined,
    };
    const judged = await judgeCertificateKey(key, entry.quote, context);
    assert.equal(judged.kind, "refused");
    assert.match(judged.kind === "refused" ? judged.reason : "", /quote/);
    assert.deepEqual(
      AcmeInfo.parse({ account_uri: "x" }).quoted_hist_keys,
      [],
      "members of other releases may be absent",
    );
  },
);

vectorTest(
  "keys and accounts are bound by the report data that gateways ask for",
  "gateway/report-data.json",
  ({ json }) => {
    const { cases } = json<{
      cases: { tag: string; payload_hex?: string; payload_utf8?: string; report_data_hex: string }[];
    }>("gateway/report-data.json");
    for (const { tag, payload_hex, payload_utf8, report_data_hex } of cases) {
      const payload = payload_hex === undefined ? utf8(payload_utf8 ?? "") : parseHex(payload_hex);
      assert.equal(toHex(customReportData(tag, payload)), report_data_hex, tag);
    }
    assert.equal(cases.length, 2);
  },
);
