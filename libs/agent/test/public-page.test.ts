import assert from "node:assert/strict";
import { test } from "node:test";
import { humanSize } from "../src/public-page.ts";
import { skipVectors, vectorJson } from "./vectors.ts";

test("the page gives sizes as the vectors say", { skip: skipVectors }, () => {
  for (const row of vectorJson<{ bytes: number; text: string }[]>("hsize.json"))
    assert.equal(humanSize(row.bytes), row.text);
});
