import assert from "node:assert/strict";
import { test } from "node:test";
import { BytesError, parseJson } from "@dstack/bytes";

const refused = (text: string): string => {
  try {
    parseJson(text, "it");
  } catch (error) {
    assert.ok(error instanceof BytesError, String(error));
    assert.equal(error.cause, undefined);
    return `${error.code} ${error.message}`;
  }
  return assert.fail(`accepted: ${text.slice(0, 80)}`);
};

test("reads what JSON.parse reads", () => {
  for (const text of [
    "null",
    "1",
    '"a:b"',
    '"{\\"a\\":1}"',
    "{}",
    "[]",
    '{"a":{"a":[{"a":1},{"a":2}]},"b":"\\\\"}',
    ' { "a" : 1 , "__proto__" : { "x" : [ ] } } ',
    '{"":0,"\\u0061":"\\ud83d\\ude00 😀 \\" : "}',
  ])
    assert.deepEqual(parseJson(text), JSON.parse(text), text);
});

test("refuses a member that is said twice in one object, however it is spelled and wherever it is", () => {
  for (const [text, member] of [
    ['{"a":1,"a":1}', "a"],
    ['{"isAllowed":false,"isAllowed":true}', "isAllowed"],
    ['{"a":1,"\\u0061":2}', "a"],
    ['[{"b":[{"c":{}, "c" : 2}]}]', "c"],
    ['{"a":{},"b":1,"a":{}}', "a"],
    ['{"__proto__":1,"__proto__":2}', "__proto__"],
    ['{"":1,"":2}', ""],
  ] as const)
    assert.equal(refused(text), `json-repeated it: "${member}" is said twice`);
  assert.ok(refused(`{"${"k".repeat(10_000)}":1,"${"k".repeat(10_000)}":1}`).length < 100);
});

test("refuses text that is no well-formed Unicode, in names and in values", () => {
  for (const text of ['"\\ud800"', '{"a":["\\udfff"]}', '{"\\ud800":1}', '["\\ude00\\ud83d"]', '"\ud800"'])
    assert.equal(refused(text), "json-ill-formed it: holds text that is no valid Unicode");
});

test("never says what stands in text that is no JSON", () => {
  for (const text of ["", "{", '{"token": S3cret}', '{"token":"S3cret" "x"}', '"S3cret', "[1,]", "S3cret"]) {
    const said = refused(text);
    assert.match(said, /^json-invalid it: not valid JSON$/);
    assert.doesNotMatch(said, /S3cret/);
  }
});

test("makes NaN of what is not written as an integer, where only integers are meant", () => {
  const read = (text: string): unknown => parseJson(text, "it", { integersAsWritten: true });
  const integers = '{"a":[0,2,-7,9007199254740993],"e":"1.5e3 -0","b":true,"f":false,"n":null}';
  assert.deepEqual(read(integers), JSON.parse(integers));
  for (const spelled of ["2.0", "2e0", "2E0", "20e-1", "-0", "0.5", "-1.5", "1e400"])
    assert.deepEqual(read(`{"a":[1,${spelled}],"b":-3}`), { a: [1, Number.NaN], b: -3 }, spelled);
  assert.deepEqual(parseJson("[2.0]"), [2], "only where it is asked for");
});

test("reads text of any depth without a deep stack", () => {
  const deep = `${'{"a":['.repeat(50_000)}${"]}".repeat(50_000)}`;
  assert.ok(typeof parseJson(deep) === "object");
});
