import { test } from "node:test";
import assert from "node:assert/strict";
import { parseAppLabel, targetOf } from "../src/proxy/app-address.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Cases {
  readonly cases: readonly {
    label: string;
    app_id?: string;
    port?: number;
    tls_passthrough?: boolean;
    h2?: boolean;
    error_contains?: string;
  }[];
  readonly host_cases: readonly {
    sni: string;
    base_domains: string[];
    kind: "platform" | "custom_domain" | "error";
    label?: string;
    error_contains?: string;
  }[];
}

vectorTest("reads labels as the vectors say", "gateway/app-address.json", ({ json }) => {
  for (const row of json<Cases>("gateway/app-address.json").cases) {
    const result = parseAppLabel(row.label);
    if (row.error_contains !== undefined) {
      assert.ok(
        typeof result === "string" && result.includes(row.error_contains),
        `${row.label}: ${JSON.stringify(result)}`,
      );
    } else {
      assert.deepEqual(
        result,
        {
          id: row.app_id,
          port: row.port,
          mode: row.tls_passthrough === true ? "passthrough" : row.h2 === true ? "h2" : "terminate",
        },
        row.label,
      );
    }
  }
});

vectorTest("splits server names as the vectors say", "gateway/app-address.json", ({ json }) => {
  for (const row of json<Cases>("gateway/app-address.json").host_cases) {
    const target = targetOf(row.sni, (domain) => row.base_domains.includes(domain));
    const kinds = { platform: "platform", custom_domain: "custom-domain", error: "invalid" } as const;
    assert.equal(target.kind, kinds[row.kind], row.sni);
    if (target.kind === "invalid") assert.ok(target.reason.includes(row.error_contains ?? ""));
    if (target.kind === "platform") assert.deepEqual(target.address, parseAppLabel(row.label ?? ""));
  }
});

test("refuses port 0, signs and both suffixes", () => {
  for (const label of ["a-0", "a-+80", "a--80", "a-65536", "a-8 0", "a-0x50"])
    assert.equal(typeof parseAppLabel(label), "string", label);
  assert.equal(parseAppLabel("a-443gs"), "invalid port");
  assert.match(parseAppLabel("a-443sg") as string, /`gs` is not allowed/);
});
