import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { test } from "node:test";
import {
  answerKey,
  newQuestion,
  questionHeaders,
  questionOf,
  requireSigned,
  signatureHeaders,
} from "../src/signed-answer.ts";
import { publicKeyHex } from "../src/signing-key.ts";
import { GovernanceError } from "../src/index.ts";

const seed = (byte: number) =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.alloc(32, byte)]),
    format: "der",
    type: "pkcs8",
  });
const KEY = seed(7);
const PINNED = [answerKey(publicKeyHex(KEY))];
const LINE = { method: "POST", path: "/bootAuth/app" } as const;
const ALLOW = { status: 200, body: Buffer.from('{"isAllowed":true,"reason":"","gatewayAppId":""}') };

const rule = (run: () => void): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof GovernanceError, String(error));
    assert.equal(error.code, "webhook-answer-unproven");
    assert.match(error.message, new RegExp(`\\(rule ${String(error.facts["rule"])}, status \\d+\\)`));
    return String(error.facts["rule"]);
  }
  return "";
};

test("the bytes that are signed are these, so that others can sign and check them", () => {
  const requestHash = createHash("sha256")
    .update(
      Buffer.concat([
        Buffer.from("dstack-webhook-request-v1:"),
        Buffer.from([0, 18]),
        Buffer.from("POST /bootAuth/app{}"),
      ]),
    )
    .digest();
  const nonce = Buffer.alloc(32, 5);
  const question = questionOf(
    { "x-dstack-nonce": nonce.toString("hex"), "x-dstack-request": requestHash.toString("hex") },
    LINE,
    Buffer.from("{}"),
  );
  assert.deepEqual(question, { nonce: new Uint8Array(nonce), requestHash });
  const bytes = Buffer.concat([
    Buffer.from("dstack-webhook-answer-v1:"),
    nonce,
    requestHash,
    Buffer.from([0, 200]),
    createHash("sha256").update(ALLOW.body).digest(),
  ]);
  assert.equal(
    signatureHeaders(KEY, question!, ALLOW)["x-dstack-signature"],
    sign(null, bytes, KEY).toString("base64"),
  );
  assert.equal(publicKeyHex(KEY), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
});

test("an answer counts that one of the pinned keys signed for this question, and no other (SECURITY #1315)", () => {
  const body = '{"appId":"1"}';
  const asked = newQuestion(LINE, body);
  const headers = signatureHeaders(KEY, asked, ALLOW);
  const held = (
    answer: Partial<typeof ALLOW & { headers: IncomingHttpHeaders }> = {},
    question = asked,
    keys = PINNED,
  ): string =>
    rule(() => requireSigned(keys, question, { ...ALLOW, headers: { ...headers }, ...answer }, "http://auth"));
  assert.equal(held(), "");
  assert.equal(held({}, asked, [answerKey(publicKeyHex(seed(8))), ...PINNED]), "");
  assert.equal(held({ headers: {} }), "answer.signed");
  assert.equal(held({ status: 302, headers: {} }), "answer.redirect");
  assert.equal(held({ status: 307 }), "answer.redirect");
  for (const other of [
    { status: 201 },
    { body: Buffer.from(String(ALLOW.body).replace("true", "true ")) },
    { body: Buffer.alloc(0) },
  ])
    assert.equal(held(other), "answer.signature");
  assert.equal(held({}, asked, [answerKey(publicKeyHex(seed(8)))]), "answer.signature");
  // The same request at another time; another request at the same time.
  const later = newQuestion(LINE, body);
  assert.notDeepEqual(later.nonce, asked.nonce);
  assert.equal(held({}, later), "answer.nonce");
  assert.equal(held({ headers: { ...headers, ...questionHeaders(later) } }, later), "answer.signature");
  for (const [line, text] of [
    [{ method: "POST", path: "/bootAuth/kms" }, body],
    [LINE, '{"appId":"2"}'],
    [{ method: "GET", path: "/" }, ""],
    // No byte can move from the line into the body.
    [{ method: "POST", path: "/bootAuth/ap" }, `p${body}`],
  ] as const) {
    const other = { ...newQuestion(line, text), nonce: asked.nonce };
    assert.equal(held({}, other), "answer.request");
    assert.equal(held({ headers: { ...headers, ...questionHeaders(other) } }, other), "answer.signature");
  }
  const good = headers["x-dstack-signature"]!;
  for (const signature of [
    "",
    good.slice(0, -1),
    `${good}, ${good}`,
    [good],
    good.replace(/^./, "*"),
    Buffer.alloc(64).toString("base64"),
  ])
    assert.equal(held({ headers: { ...headers, "x-dstack-signature": signature } }), "answer.signature");
  // A key of an app that signs whatever it is given cannot be made to sign an answer: the tag is ours.
  assert.equal(
    held({ headers: { ...headers, "x-dstack-signature": sign(null, ALLOW.body, KEY).toString("base64") } }),
    "answer.signature",
  );
});

test("a server signs nothing for a request that is not the one that was sent", () => {
  const asked = questionHeaders(newQuestion(LINE, "{}"));
  for (const [headers, body] of [
    [asked, "{ }"],
    [{ ...asked, "x-dstack-request": undefined }, "{}"],
    [{ ...asked, "x-dstack-nonce": "ab" }, "{}"],
    [{ ...asked, "x-dstack-nonce": asked["x-dstack-nonce"]!.toUpperCase().replace(/^./, "A") }, "{}"],
    [{ ...asked, "x-dstack-nonce": `${asked["x-dstack-nonce"]}, ${asked["x-dstack-nonce"]}` }, "{}"],
  ] as const)
    assert.throws(() => questionOf(headers, LINE, Buffer.from(body)), { code: "request-invalid" });
  assert.equal(questionOf({}, LINE, Buffer.from("{}")), undefined);
});

test("a key for which a signature needs no secret is never pinned", () => {
  const little = (last: string, first: string, middle: string): string => `${first}${middle.repeat(30)}${last}`;
  for (const hex of [
    "00".repeat(32),
    little("80", "00", "00"),
    little("00", "01", "00"),
    little("80", "01", "00"),
    ...["ec", "ed", "ee"].flatMap((first) => [little("7f", first, "ff"), little("ff", first, "ff")]),
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "C7176A703D4DD84FBA3C0B760D10670F2A2053FA2C39CCC64EC7FD7792AC037A",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  ])
    assert.throws(() => answerKey(hex), { code: "environment-invalid", message: /small order/ }, hex);
  for (const hex of ["", "ab", "zz".repeat(32), `${"ab".repeat(32)}00`])
    assert.throws(() => answerKey(hex), { code: "environment-invalid", message: /32 bytes in hex/ });
  const { privateKey } = generateKeyPairSync("ed25519");
  assert.ok(answerKey(`0x${publicKeyHex(privateKey).toUpperCase()}`).equals(createPublicKey(privateKey)));
});
