import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "@dstack/bytes";
import { formatChecksumFile, formatDigestFile, ImageError, osImageHash, parseChecksumFile } from "@dstack/image";

const HASH = "ab".repeat(32);
const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const refused = (text: string, pattern: RegExp): void => {
  assert.throws(
    () => parseChecksumFile(bytes(text)),
    (error: unknown) => error instanceof ImageError && error.code === "bad-checksums" && pattern.test(error.message),
  );
};

test("reads sha256sum.txt and writes the same bytes back", () => {
  const text = `${HASH}  ovmf.fd\n${"0".repeat(64)}  bzImage\n`;
  const files = parseChecksumFile(bytes(text));
  assert.deepEqual(
    files.map(({ name }) => name),
    ["ovmf.fd", "bzImage"],
  );
  assert.equal(Buffer.from(formatChecksumFile(files)).toString(), text);
});

test("refuses a name listed twice, so that no second reader can see other files", () => {
  refused(`${HASH}  bzImage\n${HASH}  bzImage\n`, /twice/);
});

test("refuses names that could leave the image folder", () => {
  for (const name of ["../bzImage", "a/b", "..", ".", "a..b", "/etc/passwd", "a\\b", "a b", ""])
    refused(`${HASH}  ${name}\n`, /line 1/);
});

test("refuses other spacing, upper case, short hashes and a missing last newline", () => {
  refused(`${HASH} bzImage\n`, /line 1/);
  refused(`${HASH} *bzImage\n`, /line 1/);
  refused(`${HASH.toUpperCase()}  bzImage\n`, /line 1/);
  refused(`${HASH.slice(2)}  bzImage\n`, /line 1/);
  refused(`${HASH}  bzImage`, /newline/);
  refused(`${HASH}  bzImage\n\n`, /line 2/);
  refused(`${HASH}  bzImage\r\n`, /line 1/);
});

test("refuses a file beyond the limit before looking at it", () => {
  refused("x".repeat(20_000), /at most/);
});

test("the identity of an image is the SHA-256 of these very bytes", () => {
  const hash = osImageHash(bytes("abc"));
  assert.equal(toHex(hash), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(formatDigestFile(hash), `${toHex(hash)}\n`);
});
