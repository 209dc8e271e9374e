import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { collateralFromJson } from "@dstack/attest";
import { CollateralFolder } from "@dstack/attest/node";
import { forge, goodScene } from "../../tests/forge/forged-evidence.ts";
import { collateralLeft } from "../src/stack/collateral-left.ts";

const folder = mkdtempSync(join(tmpdir(), "collateral-left-"));
after(() => rmSync(folder, { recursive: true }));

test("doctor says how long pinned and fetched collateral is good, and notes a pin that ends within a week", async () => {
  const env = { XDG_STATE_HOME: join(folder, "state"), XDG_CACHE_HOME: join(folder, "cache") };
  const now = 1_900_000_000;
  const at = (days: number) => collateralLeft(env, (now + days * 86_400) * 1000);
  assert.match((await at(0)).detail, /^none is kept/);
  const collateral = collateralFromJson(forge(goodScene(now)).collateral);
  const cache = new CollateralFolder(join(folder, "cache/dstack/collateral"));
  await cache.write("tdx-platform-90c06f000000-00", collateral);
  writeFileSync(join(cache.path, "tdx-broken.json"), "{");
  assert.deepEqual(await at(40), {
    name: "collateral",
    result: "ok",
    detail: "fetched: good for -11 days, and renewed when it is used",
  });
  await new CollateralFolder(join(folder, "state/dstack/collateral-pins")).write(
    "tdx-platform-90c06f000000",
    collateral,
  );
  assert.equal((await at(21)).result, "ok");
  const late = await at(23);
  assert.equal(late.result, "note");
  assert.match(late.detail, /^pinned: a document ends in 6 days, and no pin is renewed; fetched: good for 6 days/);
});
