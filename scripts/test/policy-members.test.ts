import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { POLICY_PAGE, withPolicyMembers } from "../docs/policy-members.ts";

test("the page on quotes has the policy's members as the reader takes them", () => {
  assert.equal(readFileSync(POLICY_PAGE, "utf8"), withPolicyMembers(), "run: node scripts/docs/policy-members.ts");
});
