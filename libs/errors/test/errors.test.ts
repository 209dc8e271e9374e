import assert from "node:assert/strict";
import { test } from "node:test";
import { CodedError, errorChain, isCoded } from "@dstack/errors";

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
  assert.equal(errorChain(ring).split(": ").length, 16);
});
