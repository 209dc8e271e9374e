import assert from "node:assert/strict";
import { test } from "node:test";
import { errorTables } from "../scripts/docs/errors-page.ts";
import { saysWhatItSaw } from "../libs/errors/test/refusals/raise-sites.ts";
import { assertNextSteps } from "../libs/errors/test/refusals/walk.ts";

const site = (text: string, more = "") => ({ file: "", line: 0, codes: [], text, rest: text + more });

test("a text of words alone says nothing of what was seen; a placeholder, a cause or facts do", () => {
  assert.equal(saysWhatItSaw(site('"must be 20 bytes"')), false);
  assert.equal(saysWhatItSaw(site("`must be 20 bytes`")), false);
  assert.equal(saysWhatItSaw(site('full ? "too long" : "too short"')), false);
  for (const said of [
    site("`must be 20 bytes, got ${size}`"),
    site('"not readable"', ", { cause }"),
    site('"not readable"', ", { facts: { size } }"),
    site("reason"),
  ])
    assert.equal(saysWhatItSaw(said), true, said.rest);
});

test("a next step that names no command of ours, or one that is not there, is seen", () => {
  const step = (next: string) => ({ code: { meaning: "", next } });
  assertNextSteps(step("`dstack auth allow kms 0x00` allows it"));
  assertNextSteps(step("nothing to do here: the other side is wrong"));
  for (const next of [
    "`dstack auth permit` changes the list",
    "`dstack frobnicate` mends whatever it is",
    "dstack deploy it again, without marks",
    "look into it and be patient with it",
    "short",
  ])
    assert.throws(() => assertNextSteps(step(next)), next);
});

test("the codes of the RPC layer, in which every service answers, have their next steps", async () => {
  const tables = await errorTables();
  const withSteps = tables.filter(({ table }) => Object.values(table).some((row) => typeof row !== "string"));
  assert.deepEqual(
    withSteps.map(({ name }) => name).toSorted(),
    ["GATEWAY_ERRORS", "GUEST_ERRORS", "KMS_ERRORS", "KMS_RULES", "RPC_ERRORS", "VMM_ERRORS"],
    "a daemon whose codes have next steps is walked: see refusals.test.ts of each",
  );
  const rpc = withSteps.find(({ name }) => name === "RPC_ERRORS");
  assert.ok(rpc !== undefined);
  assertNextSteps(rpc.table);
});
