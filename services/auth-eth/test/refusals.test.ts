import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { commandFor, type BootInfo } from "@dstack/governance";
import type { KmsContract } from "@dstack/governance/chain";
import { chainBackend } from "../src/chain-backend.ts";

const KMS = `0x${"aB".repeat(20)}`;
const BOOT: BootInfo = {
  mrAggregated: "11".repeat(32),
  osImageHash: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  instanceId: "",
  deviceId: "66".repeat(32),
  tcbStatus: "OutOfDate",
  advisoryIds: [],
  mrSystem: "",
  teeVariant: "",
};
/** What nothing in a policy helps against, and why. */
const NO_COMMAND: Readonly<Record<string, string>> = {
  "kms TCB status is not up to date": "the contract takes no other: the machine is to be updated",
  "app App not deployed or invalid address": "there is no contract whose list could be changed",
};

/** The reasons that one function of a contract can give. */
function reasonsOf(contract: string, decision: string): readonly string[] {
  const source = readFileSync(join(import.meta.dirname, `../../../contracts/src/${contract}.sol`), "utf8");
  const body = source.slice(source.indexOf(`function ${decision}(`)).split(/\n {4}}\n/)[0] ?? "";
  return [...body.matchAll(/return \(false, "([^"]+)"\)/g)].map(([, reason = ""]) => reason);
}

test("every denial of the contracts names the contract, its list, the field, and the command that changes it", async () => {
  const denials = [
    ...reasonsOf("DstackKms", "isKmsAllowed").map((reason) => ({
      kind: "kms" as const,
      by: `DstackKms ${KMS}`,
      reason,
    })),
    ...reasonsOf("DstackKms", "isAppAllowed").map((reason) => ({
      kind: "app" as const,
      by: `DstackKms ${KMS}`,
      reason,
    })),
    ...reasonsOf("DstackApp", "isAppAllowed").map((reason) => ({
      kind: "app" as const,
      by: `DstackApp ${BOOT.appId}`,
      reason,
    })),
  ];
  assert.equal(denials.length, 11);
  for (const { kind, by, reason } of denials) {
    const block = { chainId: 1, number: 1n, hash: "0x" } as const;
    const contract = { decide: () => Promise.resolve({ isAllowed: false, reason, gatewayAppId: "", block }) };
    const backend = chainBackend({
      contract: contract as unknown as KmsContract,
      address: KMS,
      rpcUrls: [],
      denied: { includes: () => Promise.resolve(false) },
    });
    const { rule = "", field = "" } = await backend.decide(kind, BOOT);
    assert.ok(rule.startsWith(`${by}: `), `${reason}: ${rule}`);
    assert.ok(Object.hasOwn(BOOT, field), `${kind} ${reason}: no field`);
    const why = NO_COMMAND[`${kind} ${reason}`];
    assert.equal(commandFor(kind, { rule, field }, BOOT) === undefined, why !== undefined, `${kind} ${reason}`);
  }
});
