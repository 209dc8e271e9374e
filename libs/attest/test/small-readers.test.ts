/** The short readers of evidence, each rule from both sides. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex, u32le, utf8 } from "@dstack/bytes";
import {
  AttestError,
  customReportData,
  fail,
  osImageHashOf,
  parsePolicy,
  parseQuote,
  pass,
  parseKeyProviderInfo,
  planCollateral,
  collateralFromJson,
  trustAnchorFromPem,
} from "@dstack/attest";
import { forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import { atTime, decide } from "../src/judgement.ts";
import { refuses } from "./fixtures.ts";
import { verifyScene } from "./forged.ts";

const edited = (edit: (scene: Scene) => void): Scene => {
  const scene = goodScene();
  edit(scene);
  return scene;
};

test("reads the OS image hash of a vm_config, or names what is wrong with it", () => {
  assert.equal(toHex(osImageHashOf(`{"os_image_hash":"${"ab".repeat(32)}"}`)), "ab".repeat(32));
  for (const text of ["", "{}", '{"os_image_hash":""}']) assert.equal(osImageHashOf(text).length, 0, text);
  for (const [text, message] of [
    ["{", /not valid JSON/],
    ["5", /not an object/],
    ["null", /not an object/],
    ['{"os_image_hash":5}', /not a string/],
    ['{"os_image_hash":null}', /not a string/],
    [`{"os_image_hash":"0x${"ab".repeat(32)}"}`, /not 64 hex digits/],
    ['{"os_image_hash":["x"]}', /not a string/],
    ['{"os_image_hash":"ab"}', /not 64 hex digits/],
  ] as const)
    assert.match(
      refuses("vm-config-malformed", () => osImageHashOf(text), text),
      message,
    );
});

test("reads a key provider's name and id, or names what is wrong with them", () => {
  assert.deepEqual(parseKeyProviderInfo(utf8('{"name":"kms","id":"00"}')), { name: "kms", id: "00" });
  for (const text of ["{", "\xff"])
    assert.match(
      refuses("event-invalid", () => parseKeyProviderInfo(utf8(text)), text),
      /not JSON text/,
    );
  assert.match(
    refuses("event-invalid", () => parseKeyProviderInfo(Uint8Array.of(0xff))),
    /not JSON text/,
  );
  for (const text of [
    "null",
    "5",
    '"text"',
    "{}",
    '{"name":"kms"}',
    '{"id":"00"}',
    '{"name":5,"id":"00"}',
    '{"name":"kms","id":5}',
  ]) {
    assert.match(
      refuses("event-invalid", () => parseKeyProviderInfo(utf8(text)), text),
      /expected name and id as text/,
    );
  }
});

test("takes raw report data of exactly 64 bytes, as a copy", () => {
  const content = new Uint8Array(64).fill(7);
  const data = customReportData("any", content, "raw");
  content.fill(0);
  assert.deepEqual(
    [...data],
    Array.from({ length: 64 }, () => 7),
  );
  for (const length of [0, 63, 65])
    assert.match(
      refuses("report-data-invalid", () => customReportData("any", new Uint8Array(length), "raw")),
      new RegExp(`exactly 64 bytes, got ${length}`),
    );
  assert.deepEqual(customReportData("any", content), customReportData("any", content, ""));
  assert.deepEqual(customReportData("any", content), customReportData("any", content, "sha512"));
});

test("bounds the fields of a quote at a mebibyte each", () => {
  const { quote } = forge(goodScene());
  const claiming = (bytes: number): Uint8Array => {
    const changed = Uint8Array.from(quote);
    changed.set(u32le(bytes), 632);
    return changed;
  };
  assert.match(
    refuses("quote-malformed", () => parseQuote(claiming(1024 * 1024 + 1))),
    /1048577 bytes, limit 1048576/,
  );
  assert.match(
    refuses("quote-malformed", () => parseQuote(claiming(1024 * 1024))),
    /needs 1048576 bytes/,
  );
});

test("takes lists of a policy that hold texts only, up to their limit", () => {
  const policy = (list: unknown): unknown => parsePolicy({ accepted_advisories: list });
  policy(Array.from({ length: 10_000 }, () => "A"));
  for (const list of [Array.from({ length: 10_001 }, () => "A"), ["A", 5], [5, "A"], "A", {}])
    assert.throws(() => policy(list), AttestError);
});

test("takes times of documents in full only", () => {
  const read = (issueDate: unknown): unknown => {
    const { collateral, rootPem } = forge(
      edited((scene) => {
        scene.tcbInfo["issueDate"] = issueDate;
      }),
    );
    return planCollateral(collateralFromJson(collateral), trustAnchorFromPem(rootPem));
  };
  for (const time of ["2030-06-14T00:00:00Z", "2030-06-14T00:00:00.5Z", "2030-06-14T00:00:00+01:00"]) read(time);
  for (const time of [
    "x2030-06-14T00:00:00Z",
    "2030-06-14T00:00:00Zx",
    "2030-06-14T00:00:00",
    "2030-06-14",
    "2030-13-14T00:00:00Z",
    "+012030-06-14T00:00:00Z",
  ]) {
    assert.match(
      refuses("collateral-malformed", () => read(time), time),
      /issueDate is not a time/,
    );
  }
});

test("names the whole chain in the reason of a check that passes", () => {
  const verification = verifyScene(goodScene());
  const reason = (name: string): string | undefined => verification.checks.find((check) => check.name === name)?.reason;
  assert.equal(reason("pck-chain"), "Forged SGX PCK Certificate <- Forged SGX PCK Platform CA <- Forged SGX Root CA");
  assert.match(reason("trust-anchor") ?? "", /^Forged SGX Root CA \(/);
});

test("asks a PCK certificate for its name under Intel's root only", () => {
  assert.equal(
    verifyScene(
      edited((scene) => {
        scene.certificates.pck.name = "Some Platform";
      }),
    ).ok,
    true,
  );
});

test("tells what is not yet valid from what has expired, to the second", () => {
  const code = (edit: (scene: Scene) => void, name: string): string | undefined =>
    verifyScene(edited(edit)).checks.find((check) => check.name === name && check.result === "fail")?.code;
  const at = (scene: Scene, seconds: number): string => new Date((scene.now + seconds) * 1000).toISOString();
  assert.equal(
    code((scene) => {
      scene.tcbInfo["issueDate"] = at(scene, 0);
      scene.tcbInfo["nextUpdate"] = at(scene, 0);
    }, "collateral-fresh"),
    undefined,
  );
  assert.equal(
    code((scene) => {
      scene.tcbInfo["issueDate"] = at(scene, 1);
    }, "collateral-fresh"),
    "collateral-not-yet-valid",
  );
  assert.equal(
    code((scene) => {
      scene.tcbInfo["nextUpdate"] = at(scene, -1);
    }, "collateral-fresh"),
    "collateral-expired",
  );
  // Never valid: issued now, expired before.
  assert.equal(
    code((scene) => {
      scene.tcbInfo["issueDate"] = at(scene, 0);
      scene.tcbInfo["nextUpdate"] = at(scene, -1);
    }, "collateral-fresh"),
    "collateral-expired",
  );
});

test("a check that failed by itself keeps its own code, whatever its dates and signatures", () => {
  const signature = {
    what: "x",
    publicKey: new Uint8Array(65),
    message: new Uint8Array(0),
    signature: new Uint8Array(64),
  };
  const periods = [{ kind: "collateral" as const, what: "x", from: 10, until: 20 }];
  const failed = { name: "pck-chain", outcome: fail("broken", "chain-broken"), periods, signatures: [signature] };
  assert.equal(atTime(failed, 30).code, "chain-broken");
  assert.equal(decide(failed, new Set()).outcome.code, "chain-broken");
  const passed = { ...failed, outcome: pass("fine") };
  assert.equal(decide(passed, new Set()).outcome.code, "signature-invalid");
  assert.equal(decide(passed, new Set([signature])).outcome.result, "pass");
  for (const [now, code] of [
    [9, "collateral-not-yet-valid"],
    [10, undefined],
    [20, undefined],
    [21, "collateral-expired"],
    [Number.NaN, "collateral-expired"],
  ] as const) {
    assert.equal(atTime({ ...passed, signatures: [] }, now).code, code, String(now));
  }
});
