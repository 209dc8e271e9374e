import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { concatBytes, hash48, parseHex, toHex, u32be, utf8 } from "@dstack/bytes";
import { x25519PublicKey } from "@dstack/keys";
import {
  decodeAnswer,
  decodeQuestion,
  deriveProviderKey,
  encodeAnswer,
  encodeQuestion,
  KeyProviderError,
  MAX_QUOTE_BYTES,
  openSealedBox,
  readFrame,
  sealBox,
  writeFrame,
  type KeyProviderErrorCode,
} from "@dstack/key-provider";

const refuses =
  (code: KeyProviderErrorCode) =>
  (error: unknown): boolean =>
    error instanceof KeyProviderError && error.code === code;

describe("the sealed box", () => {
  const secret = parseHex("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
  // crypto_box_seal of libsodium 1.0 over the bytes a0 to bf.
  const byLibsodium = parseHex(
    "5f726bcc16951a3f82e40bff301ee3dd9715776af209a042b3406d4635962d1bddc251c5ba93c80bbe323afe343816af" +
      "5a8e52d3d11b9a81113cf331645031bdba2959e4f8d9f3efbe441234fd3445e5",
  );
  const plaintext = Uint8Array.from({ length: 32 }, (_, index) => 0xa0 + index);

  test("opens what libsodium sealed", () => {
    assert.deepEqual(openSealedBox(byLibsodium, secret), plaintext);
  });

  test("opens what it sealed, 48 bytes longer than what is in it, never twice the same", () => {
    const first = sealBox(plaintext, x25519PublicKey(secret));
    assert.equal(first.length, 80);
    assert.deepEqual(openSealedBox(first, secret), plaintext);
    assert.notDeepEqual(sealBox(plaintext, x25519PublicKey(secret)), first);
  });

  test("refuses another key, and any changed or missing byte", () => {
    assert.throws(() => openSealedBox(byLibsodium, new Uint8Array(32).fill(7)), refuses("box-invalid"));
    for (let index = 0; index < byLibsodium.length; index++) {
      const changed = byLibsodium.slice();
      // Not the top bit: X25519 does not read that of the last byte of a public key.
      changed[index]! ^= 1;
      assert.throws(() => openSealedBox(changed, secret), refuses("box-invalid"), `byte ${index}`);
    }
    for (const length of [0, 31, 32, 47, 79])
      assert.throws(() => openSealedBox(byLibsodium.subarray(0, length), secret), refuses("box-invalid"), `${length}`);
  });

  test("is sealed for no key of small order, which everybody could open", () => {
    assert.throws(() => sealBox(plaintext, new Uint8Array(32)), /invalid X25519 shared secret/);
  });
});

describe("the key of a trust domain", () => {
  const register = (byte: number): ReturnType<typeof hash48> => hash48(new Uint8Array(48).fill(byte));
  const report = { mrTd: register(1), rtmr: [register(2), register(3), register(4), register(5)] } as const;
  const sealing = new Uint8Array(32).fill(9);

  test("is the hash of the sealing key and the five registers, in their order", () => {
    const expected = createHash("sha256").update(sealing);
    for (const byte of [1, 2, 3, 4, 5]) expected.update(new Uint8Array(48).fill(byte));
    assert.equal(toHex(deriveProviderKey(sealing, report)), expected.digest("hex"));
  });

  test("is another one for any other register or machine", () => {
    const key = toHex(deriveProviderKey(sealing, report));
    assert.notEqual(toHex(deriveProviderKey(new Uint8Array(32).fill(8), report)), key);
    assert.notEqual(toHex(deriveProviderKey(sealing, { ...report, mrTd: register(6) })), key);
    for (const changed of [0, 1, 2, 3] as const) {
      const rtmr = report.rtmr.with(changed, register(6)) as unknown as typeof report.rtmr;
      assert.notEqual(toHex(deriveProviderKey(sealing, { ...report, rtmr })), key);
    }
  });
});

describe("messages", () => {
  const quote = Uint8Array.of(0, 1, 2, 255);
  const answer = { encryptedKey: Uint8Array.of(9, 8), providerQuote: Uint8Array.of(7) };

  test("have the bytes of the wire", () => {
    assert.equal(new TextDecoder().decode(encodeQuestion(quote)), '{"quote":[0,1,2,255]}');
    assert.equal(new TextDecoder().decode(encodeAnswer(answer)), '{"encrypted_key":[9,8],"provider_quote":[7]}');
    assert.deepEqual(decodeQuestion(encodeQuestion(quote)), quote);
    assert.deepEqual(decodeAnswer(encodeAnswer(answer)), answer);
  });

  for (const text of [
    "",
    "[]",
    "null",
    "{}",
    '{"quote":"AAEC"}',
    '{"quote":[256]}',
    '{"quote":[-1]}',
    '{"quote":[1.5]}',
    '{"quote":[null]}',
    '{"quote":[1],"quote":[2]}',
  ]) {
    test(`are refused where they are ${text === "" ? "empty" : text}`, () => {
      assert.throws(() => decodeQuestion(utf8(text)), refuses("message-invalid"));
    });
  }

  test("hold no quote above a mebibyte, whoever sends it", () => {
    const long = new Uint8Array(MAX_QUOTE_BYTES + 1);
    assert.throws(() => encodeQuestion(long), refuses("quote-too-long"));
    assert.throws(() => decodeQuestion(utf8(JSON.stringify({ quote: [...long] }))), refuses("quote-too-long"));
  });
});

describe("a frame", () => {
  const arriving = async (...chunks: readonly Uint8Array[]): Promise<Uint8Array> => {
    const stream = new PassThrough();
    const read = readFrame(stream);
    for (const chunk of chunks) stream.write(chunk);
    stream.end();
    return read;
  };

  test("is the length, big-endian, and the message", async () => {
    const stream = new PassThrough();
    writeFrame(stream, encodeQuestion(Uint8Array.of(0, 1, 2, 255)));
    assert.equal(
      Buffer.from(stream.read() as Buffer).toString("hex"),
      "000000157b2271756f7465223a5b302c312c322c3235355d7d",
    );
  });

  test("is read however it is cut", async () => {
    const whole = concatBytes(u32be(5), utf8("hello"));
    assert.deepEqual(await arriving(whole), utf8("hello"));
    assert.deepEqual(await arriving(...[...whole].map((byte) => Uint8Array.of(byte))), utf8("hello"));
  });

  test("is refused before it is kept where its length is 0 or above 8 MiB", async () => {
    await assert.rejects(arriving(u32be(0)), refuses("message-invalid"));
    await assert.rejects(arriving(u32be(8 * 1024 * 1024 + 1)), refuses("message-invalid"));
  });

  test("is refused where more follows, or less", async () => {
    await assert.rejects(arriving(concatBytes(u32be(1), utf8("ab"))), refuses("message-invalid"));
    await assert.rejects(arriving(concatBytes(u32be(3), utf8("ab"))), refuses("provider-silent"));
    await assert.rejects(arriving(), refuses("provider-silent"));
  });
});
