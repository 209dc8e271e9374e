import { test } from "node:test";
import assert from "node:assert/strict";
import { GatewayError } from "../src/errors.ts";
import { allowsPort, portPolicy, portPolicyFromTcbInfo, type PortPolicy } from "../src/registration/port-policy.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface RawPolicy {
  readonly ports: Record<string, { pp?: boolean }>;
  readonly restrict_mode: boolean;
}
interface Cases {
  readonly cases: readonly { instance: RawPolicy | null; admin: RawPolicy | null; allow: number[]; deny: number[] }[];
  readonly tcb_info: readonly { tcb_info: string; expect: RawPolicy }[];
}

const fromRaw = (raw: RawPolicy): PortPolicy =>
  portPolicy(
    raw.restrict_mode,
    Object.entries(raw.ports).map(([port, attributes]) => ({ port: Number(port), pp: attributes.pp ?? false })),
  );

vectorTest("allows and denies ports as the vectors say", "gateway/port-policy.json", ({ json }) => {
  for (const row of json<Cases>("gateway/port-policy.json").cases) {
    // Overrides by the operator come with the full admin API.
    if (row.instance === null || row.admin !== null) continue;
    const policy = fromRaw(row.instance);
    for (const port of row.allow) assert.equal(allowsPort(policy, port), true, `${port}`);
    for (const port of row.deny) assert.equal(allowsPort(policy, port), false, `${port}`);
  }
});

vectorTest(
  "reads the policy out of a guest agent's tcb_info as the vectors say",
  "gateway/port-policy.json",
  ({ json }) => {
    for (const row of json<Cases>("gateway/port-policy.json").tcb_info)
      assert.deepEqual(portPolicyFromTcbInfo(row.tcb_info), fromRaw(row.expect));
  },
);

test("a compose file without a policy is open, one that cannot be read is an error and not open", () => {
  assert.equal(allowsPort(portPolicyFromTcbInfo(JSON.stringify({ app_compose: "{}" })), 1234), true);
  for (const text of [
    "{",
    "[]",
    JSON.stringify({ app_compose: "{" }),
    JSON.stringify({ app_compose: JSON.stringify({ port_policy: { restrict_mode: "yes" } }) }),
    JSON.stringify({
      app_compose: JSON.stringify({ port_policy: { restrict_mode: true, ports: [{ port: 70_000 }] } }),
    }),
  ]) {
    assert.throws(
      () => portPolicyFromTcbInfo(text),
      (error) => error instanceof GatewayError && error.code === "port-policy-invalid",
      text,
    );
  }
});

test("ports outside 1 to 65535 are refused with the texts that callers know", () => {
  assert.throws(() => portPolicy(true, [{ port: 0, pp: false }]), /port must be between 1 and 65535/);
  assert.throws(() => portPolicy(true, [{ port: 65_536, pp: false }]), /port 65536 out of u16 range/);
});
