import assert from "node:assert/strict";
import { test } from "node:test";
import { escapeHtml, humanSize } from "../src/public-page.ts";
import { skipVectors, vectorJson } from "./vectors.ts";

test("the page escapes every character that HTML reads", () => {
  assert.equal(escapeHtml(`<a href="x">'&`), "&#60;a href=&#34;x&#34;&#62;&#39;&#38;");
});

test("the page gives sizes as the vectors say", { skip: skipVectors }, () => {
  for (const row of vectorJson<{ bytes: number; text: string }[]>("hsize.json"))
    assert.equal(humanSize(row.bytes), row.text);
});
