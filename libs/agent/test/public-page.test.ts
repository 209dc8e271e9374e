import assert from "node:assert/strict";
import { humanSize } from "../src/public-page.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

vectorTest("the page gives sizes as the vectors say", "guest/hsize.json", ({ json }) => {
  for (const row of json<{ bytes: number; text: string }[]>("guest/hsize.json"))
    assert.equal(humanSize(row.bytes), row.text);
});
