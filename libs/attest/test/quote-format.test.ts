import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, toHex, u16le, u32le, utf8, utf8Decode } from "@dstack/bytes";
import {
  AttestError,
  collateralFromJson,
  parseQuote,
  parseTdReport,
  quoteBytesOf,
  tdReportOf,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { Quote } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { forge, goodScene, goodSgxScene, tdReport } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";

const scenes: readonly (readonly [string, Scene])[] = [
  ["version 3", goodSgxScene()],
  ["version 4", goodScene()],
  ["version 5", Object.assign(goodScene(), { version: 5, bodyType: 3, body: tdReport(648) })],
];

function refuses(code: string, says: RegExp, bytes: Uint8Array, what = ""): void {
  assert.throws(
    () => parseQuote(bytes),
    (error: unknown) => {
      assert.ok(error instanceof AttestError, `${what} ${String(error)}`);
      assert.equal(error.code, code, `${what} ${error.message}`);
      assert.match(error.message, says, what);
      return true;
    },
    what,
  );
}

function edited(bytes: Uint8Array, offset: number, value: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  out.set(value, offset);
  return out;
}

for (const [name, scene] of scenes) {
  test(`refuses a quote of ${name} cut at any byte`, () => {
    const { quote } = forge(scene);
    for (let length = 0; length < quote.length; length++) {
      refuses(
        "quote-malformed",
        /^quote.*: needs \d+ bytes, \d+ left at offset \d+$/,
        quote.subarray(0, length),
        `${length} bytes`,
      );
    }
    assert.ok(parseQuote(quote));
  });

  test(`refuses a quote of ${name} with one byte more inside its authentication data`, () => {
    const { quote } = forge(scene);
    const at = lengthFields(quote);
    const longer = concatBytes(quote, Uint8Array.of(0));
    const grown = (fields: readonly number[]): Uint8Array => {
      const bytes = Uint8Array.from(longer);
      const view = new DataView(bytes.buffer);
      for (const offset of fields) view.setUint32(offset, view.getUint32(offset, true) + 1, true);
      return bytes;
    };
    assert.ok(parseQuote(longer), "after it, bytes are allowed");
    refuses("quote-malformed", /1 bytes after the end/, grown([at.authentication]), "authentication data");
    if (at.certification !== undefined)
      refuses(
        "quote-malformed",
        /1 bytes after the end/,
        grown([at.authentication, at.certification]),
        "certification data",
      );
  });

  test(`refuses a quote of ${name} with any length at its extremes`, () => {
    const { quote } = forge(scene);
    const at = lengthFields(quote);
    for (const [field, offset, width] of [
      ["authentication", at.authentication, 4],
      ["certification", at.certification, 4],
      ["QE authentication", at.qeAuth, 2],
      ["inner certification", at.inner, 4],
    ] as const) {
      if (offset === undefined) continue;
      const view = new DataView(quote.buffer, quote.byteOffset);
      const right = width === 4 ? view.getUint32(offset, true) : view.getUint16(offset, true);
      const extremes =
        width === 4
          ? [0, 1, right - 1, right + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
          : [0, 1, right - 1, right + 1, 0x7fff, 0xffff];
      for (const value of extremes) {
        const bytes = edited(quote, offset, width === 4 ? u32le(value) : u16le(value));
        assert.throws(
          () => parseQuote(bytes),
          (error: unknown) =>
            error instanceof AttestError && ["quote-malformed", "quote-unsupported"].includes(error.code),
          `${field} ${value}`,
        );
      }
      if (width === 4)
        refuses("quote-malformed", /bytes, limit 1048576/, edited(quote, offset, u32le(1024 * 1024 + 1)), field);
    }
  });
}

test("refuses sizes and types of a version 5 body that do not fit", () => {
  const { quote } = forge(scenes[2]![1]);
  for (const [type, size] of [
    [0, 648],
    [1, 648],
    [1, 384],
    [2, 648],
    [3, 584],
    [4, 648],
    [3, 0],
    [3, 0xffff_ffff],
    [2, 584],
  ] as const) {
    const bytes = edited(quote, 48, concatBytes(u16le(type), u32le(size)));
    if (type === 2 && size === 584)
      refuses("quote-malformed", /./, bytes, "the rest of the body is read as authentication data");
    else
      refuses(
        "quote-malformed",
        /body type \d+ of \d+ bytes does not fit TEE tdx/,
        bytes,
        `type ${type}, ${size} bytes`,
      );
  }
});

test("refuses quotes of other versions and TEEs by name", () => {
  const { quote } = forge(goodScene());
  for (const version of [0, 1, 2, 6, 0xffff])
    refuses("quote-unsupported", /version \d+, expected 3, 4 or 5/, edited(quote, 0, u16le(version)));
  for (const tee of [1, 0x80, 0x82, 0xffff_ffff])
    refuses("quote-unsupported", /TEE type 0x[0-9a-f]+ in version 4/, edited(quote, 4, u32le(tee)));
  refuses("quote-unsupported", /TEE type 0x81 in version 3/, edited(quote, 0, u16le(3)));
});

test("refuses authentication data of other kinds by name", () => {
  const { quote } = forge(goodScene());
  const at = lengthFields(quote);
  for (const type of [0, 1, 5, 7])
    refuses("quote-malformed", /certification type \d, expected 6/, edited(quote, at.certification! - 2, u16le(type)));
  for (const type of [0, 1, 6, 7])
    refuses(
      "quote-unsupported",
      /inner certification type \d, expected 2, 3, 4 or 5/,
      edited(quote, at.inner - 2, u16le(type)),
    );
  for (const type of [2, 3])
    refuses(
      "quote-malformed",
      /encrypted PPID data of \d+ bytes, expected (276|404)/,
      edited(quote, at.inner - 2, u16le(type)),
    );
});

test("refuses a quote above its limit before reading it", () => {
  refuses("quote-malformed", /4194305 bytes, limit 4194304/, new Uint8Array(4 * 1024 * 1024 + 1));
});

test("takes certification data of type 4 for the PCK certificate alone, whose chain the collateral must have", () => {
  const scene = goodScene();
  const whole = forge(scene);
  scene.chains.pck = ["pck"];
  const { quote, collateral, rootPem, now } = forge(scene);
  const options = { now, trustAnchor: trustAnchorFromPem(rootPem) };
  const typeFour = (bytes: Uint8Array): Uint8Array => edited(bytes, lengthFields(bytes).inner - 2, u16le(4));
  const { certification } = parseQuote(whole.quote);
  assert.ok(certification.kind === "pem-chain");
  const withChain = { ...collateral, pck_certificate_chain: utf8Decode(certification.pem) };
  assert.equal(parseQuote(typeFour(quote)).certification.kind, "pem-leaf");
  const verify = (bytes: Uint8Array, json: object): string => {
    const verification = verifyQuote(bytes, collateralFromJson(json), options);
    return verification.ok ? "" : verification.reason;
  };
  assert.equal(verify(typeFour(quote), withChain), "");
  assert.match(
    verify(typeFour(quote), collateral),
    /^pck-chain: .*carries its PCK certificate alone; expected pck_certificate_chain, which is missing/,
  );
  for (const json of [collateral, withChain])
    assert.match(verify(typeFour(whole.quote), json), /^pck-chain: .*type 4 is the PCK certificate alone, got a chain/);
});

test("reads certification data by encrypted PPID, of both lengths", () => {
  for (const [type, length] of [
    [2, 256],
    [3, 384],
  ] as const) {
    const { certification } = parseQuote(withEncryptedPpid(forge(goodScene()).quote, type, length));
    assert.ok(certification.kind === "encrypted-ppid");
    assert.deepEqual(certification.encryptedPpid, new Uint8Array(length).fill(0xee));
    assert.deepEqual(
      certification.cpuSvn,
      Uint8Array.from({ length: 16 }, (_, index) => index),
    );
    assert.deepEqual([certification.pceSvn, toHex(certification.pceId)], [0x0d0c, "0100"]);
  }
});

test("judges a quote by encrypted PPID with the certificate in the collateral, which must be of its PCE", () => {
  const scene = goodScene();
  const { quote, collateral, rootPem, now } = forge(scene);
  const options = { now, trustAnchor: trustAnchorFromPem(rootPem) };
  const pckCertificateChain = new TextDecoder().decode(
    (parseQuote(quote).certification as Extract<Quote["certification"], { kind: "pem-chain" }>).pem,
  );
  const known = collateralFromJson({ ...collateral, pck_certificate_chain: pckCertificateChain });
  const named = (pceId: number): Uint8Array => withEncryptedPpid(quote, 3, 384, pceId);
  const accepted = verifyQuote(named(0), known, options);
  assert.ok(accepted.ok, accepted.ok ? "" : accepted.reason);
  const otherPce = verifyQuote(named(1), known, options);
  assert.deepEqual(
    otherPce.checks.filter(({ result }) => result === "fail").map(({ name, code }) => [name, code]),
    [["platform-identity", "platform-mismatch"]],
  );
  const missing = verifyQuote(named(0), collateralFromJson(collateral), options);
  assert.match(
    missing.ok ? "" : missing.reason,
    /^pck-chain: .*by encrypted PPID only; expected pck_certificate_chain/,
  );
  assert.equal(missing.checks.at(-1)?.code, "collateral-malformed");
});

test("reads every field of a TD report 1.5", () => {
  const report = parseTdReport(tdReport(648));
  assert.equal(report.version, 1.5);
  assert.equal(toHex(report.teeTcbSvn), `050106${"00".repeat(13)}`);
  assert.equal(toHex(report.mrSeam), "5b".repeat(48));
  assert.deepEqual(
    [report.mrTd, report.mrConfigId, report.mrOwner, report.mrOwnerConfig, ...report.rtmr].map(
      (register) => register[0],
    ),
    [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
  );
  assert.equal(toHex(report.tdAttributes), "0000001000000000");
  assert.equal(toHex(report.xfam), "e702060000000000");
  assert.equal(toHex(report.teeTcbSvn2 ?? new Uint8Array(0)), `050106${"00".repeat(13)}`);
  assert.deepEqual(report.mrServiceTd, new Uint8Array(48));
  for (const length of [0, 583, 585, 647, 649])
    assert.throws(() => parseTdReport(new Uint8Array(length)), /TD report: \d+ bytes, expected 584 or 648/);
  assert.throws(() => tdReportOf(parseQuote(forge(goodSgxScene()).quote)), /expected a TDX quote, got an SGX one/);
});

test("takes a quote's file in binary or as hex text", () => {
  const { quote } = forge(goodScene());
  assert.deepEqual(quoteBytesOf(quote), quote);
  for (const text of [
    toHex(quote),
    `0x${toHex(quote).toUpperCase()}\n`,
    `\n ${toHex(quote)} `,
    toHex(quote).replace(/.{60}/g, "$&\n"),
    toHex(quote).replace(/.{64}/g, "$&\r\n"),
  ])
    assert.deepEqual(quoteBytesOf(utf8(text)), quote);
  for (const text of ["04zz", "040", "{}", "ü", "04 00"]) {
    assert.throws(
      () => quoteBytesOf(utf8(text)),
      (error: unknown) => error instanceof AttestError && error.code === "quote-malformed",
      text,
    );
  }
  assert.throws(
    () => quoteBytesOf(Uint8Array.of(0x30, 0xff)),
    (error: unknown) => error instanceof AttestError && error.code === "quote-malformed",
  );
  assert.throws(() => quoteBytesOf(new Uint8Array(8 * 1024 * 1024 + 1).fill(0x30)), /limit 8388608/);
});

/** Offsets of the length fields of a quote that is well formed. */
function lengthFields(quote: Uint8Array): {
  authentication: number;
  certification: number | undefined;
  qeAuth: number;
  inner: number;
} {
  const view = new DataView(quote.buffer, quote.byteOffset);
  const version = view.getUint16(0, true);
  const bodyAt = version === 5 ? 54 : 48;
  const bodyLength = version === 5 ? view.getUint32(50, true) : view.getUint32(4, true) === 0 ? 384 : 584;
  const authentication = bodyAt + bodyLength;
  const certification = version === 3 ? undefined : authentication + 4 + 128 + 2;
  const qeAuth = (certification === undefined ? authentication + 4 + 128 : certification + 4) + 384 + 64;
  return { authentication, certification, qeAuth, inner: qeAuth + 2 + view.getUint16(qeAuth, true) + 2 };
}

/** The same quote with its PCK certificate named instead of sent: what is signed stays as it is. */
function withEncryptedPpid(quote: Uint8Array, type: 2 | 3, length: number, pceId = 1): Uint8Array {
  const at = lengthFields(quote);
  const data = concatBytes(
    new Uint8Array(length).fill(0xee),
    Uint8Array.from({ length: 16 }, (_, index) => index),
    u16le(0x0d0c),
    u16le(pceId),
  );
  const inner = concatBytes(quote.subarray(at.certification! + 4, at.inner - 2), u16le(type), u32le(data.length), data);
  const authentication = concatBytes(
    quote.subarray(at.authentication + 4, at.certification),
    u32le(inner.length),
    inner,
  );
  return concatBytes(quote.subarray(0, at.authentication), u32le(authentication.length), authentication);
}
