/**
 * Answers of an authorization webhook that a key vouches for, so that nobody on the way can allow a boot (SECURITY #1315).
 * Who asks sends a nonce and the hash of the request; the server, if it has a key, signs both with its answer. All of it
 * travels in headers: servers and clients that know nothing of it see the same bodies as ever.
 *
 *     x-dstack-nonce:     32 bytes, hex                     in the request; the same in the answer
 *     x-dstack-request:   SHA-256 of the request, hex       in the request; the same in the answer
 *     x-dstack-signature: 64 bytes, base64                  in the answer
 *
 *     request hash = SHA-256("dstack-webhook-request-v1:" u16be(length of line) line body), line = "POST /bootAuth/app"
 *     signature    = Ed25519("dstack-webhook-answer-v1:" nonce[32] request-hash[32] u16be(status) SHA-256(body)[32])
 *
 * The line has the path below the webhook's base address, so that a proxy may put the server anywhere.
 */
import { createHash, createPublicKey, randomBytes, sign, verify, type KeyObject } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { concatBytes, parseHex } from "@dstack/bytes";
import { GovernanceError } from "./errors.ts";

const NONCE = "x-dstack-nonce";
const REQUEST = "x-dstack-request";
const SIGNATURE = "x-dstack-signature";

export interface WebhookRequestLine {
  readonly method: "GET" | "POST";
  /** `/`, `/bootAuth/app` or `/bootAuth/kms`. */
  readonly path: string;
}

/** What an answer must be signed for. */
export interface SignedQuestion {
  readonly nonce: Uint8Array;
  readonly requestHash: Uint8Array;
}

export interface AnswerBytes {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** A question that was never asked before. */
export const newQuestion = (line: WebhookRequestLine, body: Uint8Array | string): SignedQuestion => ({
  nonce: randomBytes(32),
  requestHash: hashOfRequest(line, body),
});

export const questionHeaders = ({ nonce, requestHash }: SignedQuestion): Readonly<Record<string, string>> => ({
  [NONCE]: Buffer.from(nonce).toString("hex"),
  [REQUEST]: Buffer.from(requestHash).toString("hex"),
});

/**
 * What the asker wants signed, from the server's side; undefined where he wants nothing.
 * @throws GovernanceError `request-invalid` where the request is not the one that was sent
 */
export function questionOf(
  headers: IncomingHttpHeaders,
  line: WebhookRequestLine,
  body: Uint8Array,
): SignedQuestion | undefined {
  const nonce = headers[NONCE];
  if (nonce === undefined) return undefined;
  if (typeof nonce !== "string" || !/^[0-9a-f]{64}$/.test(nonce))
    throw new GovernanceError("request-invalid", `${NONCE}: expected 32 bytes in lower-case hex`);
  const requestHash = hashOfRequest(line, body);
  const told = headers[REQUEST];
  if (told !== Buffer.from(requestHash).toString("hex"))
    throw new GovernanceError(
      "request-invalid",
      `${REQUEST} is not the hash of what arrived: it was changed on its way`,
    );
  return { nonce: parseHex(nonce), requestHash };
}

/** The headers with which an answer is signed. */
export function signatureHeaders(
  key: KeyObject,
  question: SignedQuestion,
  answer: Pick<AnswerBytes, "status" | "body">,
): Readonly<Record<string, string>> {
  return {
    ...questionHeaders(question),
    [SIGNATURE]: sign(null, signedBytes(question, answer), key).toString("base64"),
  };
}

/**
 * Holds an answer to the keys of which one must have signed it.
 * @throws GovernanceError `webhook-answer-unproven`, its fact `rule` says which rule was broken
 */
export function requireSigned(
  keys: readonly KeyObject[],
  question: SignedQuestion,
  answer: AnswerBytes,
  url: string,
): void {
  const refuse = (rule: string, text: string): never => {
    throw new GovernanceError(
      "webhook-answer-unproven",
      `auth api ${url}: ${text} (rule ${rule}, status ${answer.status}); this is no denial, and nothing of the answer counts`,
      { facts: { rule } },
    );
  };
  const { [NONCE]: nonce, [REQUEST]: request, [SIGNATURE]: signature } = answer.headers;
  const expected = questionHeaders(question);
  if (answer.status >= 300 && answer.status < 400)
    refuse("answer.redirect", "it sends elsewhere, which is never followed");
  if (signature === undefined)
    refuse(
      "answer.signed",
      "the answer is not signed; it must be, since the key of its server is pinned (answer_keys)",
    );
  if (nonce !== expected[NONCE]) refuse("answer.nonce", "the answer is to a question that was asked at another time");
  if (request !== expected[REQUEST]) refuse("answer.request", "the answer is to another request");
  if (typeof signature !== "string" || !/^[A-Za-z0-9+/]{86}==$/.test(signature))
    return refuse("answer.signature", "the signature is not 64 bytes in base64");
  const bytes = signedBytes(question, answer);
  if (!keys.some((key) => verify(null, bytes, key, Buffer.from(signature, "base64"))))
    refuse("answer.signature", "the signature is of none of the keys that are pinned, or of another answer");
}

/**
 * A pinned public key.
 * @throws GovernanceError `environment-invalid`
 */
export function answerKey(hex: string): KeyObject {
  const digits = hex.replace(/^0x/i, "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits))
    throw new GovernanceError(
      "environment-invalid",
      "an answer key has 32 bytes in hex, as `dstack auth answer-key` prints it",
    );
  if (isSmallOrder(digits))
    throw new GovernanceError("environment-invalid", "an answer key of small order: everybody can sign for it");
  return createPublicKey({ key: Buffer.from(`302a300506032b6570032100${digits}`, "hex"), format: "der", type: "spki" });
}

function hashOfRequest({ method, path }: WebhookRequestLine, body: Uint8Array | string): Uint8Array {
  const line = Buffer.from(`${method} ${path}`);
  return createHash("sha256")
    .update("dstack-webhook-request-v1:")
    .update(u16(line.length))
    .update(line)
    .update(body)
    .digest();
}

const signedBytes = (
  { nonce, requestHash }: SignedQuestion,
  { status, body }: Pick<AnswerBytes, "status" | "body">,
): Uint8Array =>
  concatBytes(
    Buffer.from("dstack-webhook-answer-v1:"),
    nonce,
    requestHash,
    u16(status),
    createHash("sha256").update(body).digest(),
  );

function u16(value: number): Uint8Array {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** The y of points whose order divides 8, little-endian, also spelled with p added. For them a signature needs no key. */
const SMALL_ORDER: ReadonlySet<string> = new Set([
  `00${"00".repeat(31)}`,
  `01${"00".repeat(31)}`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
]);

function isSmallOrder(hex: string): boolean {
  const withoutSign = (Number.parseInt(hex.slice(62), 16) & 0x7f).toString(16).padStart(2, "0");
  return SMALL_ORDER.has(`${hex.slice(0, 62)}${withoutSign}`);
}
