import assert from "node:assert/strict";
import { test } from "node:test";
import { visible } from "../src/terminal/output.ts";

test("shows what text from elsewhere would hide, move or turn round", () => {
  assert.equal(visible("plain, naïve, 漢字, 🙂"), "plain, naïve, 漢字, 🙂");
  assert.equal(visible("a\u001b[2Kb\r\n\u009b1A"), "a\\x1b[2Kb\\x0d\\x0a\\x9b1A");
  assert.equal(visible("hello@sha256:\u202e1dab\u202c"), "hello@sha256:\\u{202e}1dab\\u{202c}", "right to left");
  assert.equal(
    visible("pay\u200bpal \u2066x\u2069 \ufeff\u00ad\u{e0041}\u2028"),
    "pay\\u{200b}pal \\u{2066}x\\u{2069} \\u{feff}\\xad\\u{e0041}\\u{2028}",
  );
});
