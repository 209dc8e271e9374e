import assert from "node:assert/strict";
import { test } from "node:test";
import { asRefusal, attempt, CodedError, errorChain, excerpt, isCoded, visible } from "@dstack/errors";

class LampError extends CodedError<"bulb-missing" | "no-power"> {}

test("an error carries code, facts, text and cause, and the name of its package's class", () => {
  const cause = new Error("fuse");
  const error = new LampError("no-power", "lamp 7: no power", { cause, facts: { lamp: 7 } });
  assert.equal(error.code, "no-power");
  assert.deepEqual(error.facts, { lamp: 7 });
  assert.equal(error.message, "lamp 7: no power");
  assert.equal(error.cause, cause);
  assert.equal(error.name, "LampError");
  assert.deepEqual(new LampError("no-power", "").facts, {});
});

test("a cause that was not given is not there", () => {
  assert.equal("cause" in new LampError("no-power", "x"), false);
});

test("tells foreseen errors from others, by code where codes are asked for", () => {
  const error = new LampError("no-power", "x");
  assert.equal(isCoded(error), true);
  assert.equal(isCoded(error, "no-power"), true);
  assert.equal(isCoded(error, "bulb-missing"), false);
  assert.equal(isCoded(new TypeError("x")), false);
  assert.equal(isCoded(Object.assign(new Error("x"), { code: "no-power" }), "no-power"), false);
  assert.equal(isCoded(undefined), false);
});

test("a chain of causes is one text, outermost first, and ends", () => {
  assert.equal(errorChain(new Error("a", { cause: new Error("b", { cause: "c" }) })), "a: b: c");
  assert.equal(errorChain(new TypeError("")), "TypeError");
  const ring = new Error("r");
  ring.cause = ring;
  assert.equal(errorChain(ring), "r");
  let deep: Error | undefined;
  for (let depth = 0; depth < 20; depth++) deep = new Error(`${depth};`, { cause: deep });
  assert.equal(errorChain(deep).split(": ").length, 16);
});

test("a cause is said once, also where an outer text repeats it", () => {
  const refused = new Error("connect ECONNREFUSED 127.0.0.1:9");
  const told = new LampError("no-power", `lamp 7: ${refused.message}, try again`, { cause: refused });
  assert.equal(errorChain(told), "lamp 7: connect ECONNREFUSED 127.0.0.1:9, try again");
  assert.equal(errorChain(new Error("15 bytes", { cause: new Error("5") })), "15 bytes: 5");
});

test("no text ends in a library's words to its developers", () => {
  const line = "4063BAAF:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:../a/tls.c:84:\n";
  assert.equal(errorChain(new Error(`write EPROTO ${line}`)), "write EPROTO wrong version number");
  const alert = `${line.slice(0, -1)}SSL alert number 70\n`;
  assert.equal(errorChain(new Error("a", { cause: new Error(alert) })), "a: wrong version number");
  assert.equal(errorChain(new Error("key: error:1E08010C:DECODER routines::unsupported")), "key: unsupported");
  const unknownIssuer = "unable to verify the first certificate";
  const advice = `${unknownIssuer}; if the root CA is installed locally, try running Node.js with --use-system-ca`;
  assert.equal(errorChain(new Error(`kms: ${advice}`, { cause: new Error(advice) })), `kms: ${unknownIssuer}`);
});

const fail = (error: Error) => (): never => {
  throw error;
};

test("a foreseen error becomes the caller's own, and no other does", async () => {
  const foreseen = new LampError("no-power", "x");
  const mine = (cause: CodedError): Error => new LampError("bulb-missing", `mine: ${cause.code}`, { cause });
  assert.equal(
    asRefusal(() => 7, mine),
    7,
  );
  assert.throws(() => asRefusal(fail(foreseen), mine), { code: "bulb-missing", message: "mine: no-power" });
  await assert.rejects(
    asRefusal(() => Promise.reject(foreseen), mine),
    { code: "bulb-missing", cause: foreseen },
  );
  assert.throws(() => asRefusal(fail(new TypeError("bug")), mine), TypeError);
  await assert.rejects(
    asRefusal(() => Promise.reject(new TypeError("bug")), mine),
    TypeError,
  );
  assert.throws(
    () => asRefusal(fail(foreseen), () => undefined),
    (error) => error === foreseen,
  );
});

test("an attempt gives a foreseen error as a value and throws any other", async () => {
  const foreseen = new LampError("no-power", "x");
  assert.deepEqual(await attempt(() => 7), { ok: true, value: 7 });
  assert.deepEqual(await attempt(fail(foreseen)), { ok: false, error: foreseen });
  assert.deepEqual(await attempt(() => Promise.reject(foreseen)), { ok: false, error: foreseen });
  await assert.rejects(attempt(fail(new TypeError("bug"))), TypeError);
});

test("an excerpt is bounded, never cut inside a character, and shows control characters (DS #1278)", () => {
  assert.equal(excerpt("a".repeat(300)), "a".repeat(256));
  assert.equal(excerpt("😀".repeat(300)), "😀".repeat(256));
  assert.equal(excerpt(`${"a".repeat(3)}😀`, { maxChars: 3 }), "aaa");
  assert.equal(excerpt("a\nb\u001b[31mc\u2028\ud800"), "a\\x0ab\\x1b[31mc\\u{2028}\\u{d800}");
  assert.equal(excerpt("a\nb\r\u202e", { lines: true }), "a\nb\\x0d\\u{202e}");
  assert.equal(visible("plain, naïve, 漢字, 🙂"), "plain, naïve, 漢字, 🙂");
});
