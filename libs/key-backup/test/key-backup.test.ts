import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { equalBytes, toHex, utf8, utf8Decode } from "@dstack/bytes";
import {
  backupHash,
  decodeBackup,
  decodeSession,
  decodeShare,
  encodeBackup,
  encodeSession,
  encodeShare,
  generateOperatorKey,
  KeyBackupError,
  openOwnShare,
  openResealedShare,
  operatorKeyFromPem,
  parseOperatorPublicKey,
  resealShare,
  restoreReportData,
  sealOperatorShare,
  type KeyBackupErrorCode,
  type RestoreSession,
} from "@dstack/key-backup";
import { generateP256, spkiDer } from "@dstack/keys";
import { openSealed, sealTo } from "../src/sealed-box.ts";
import { fixture } from "./files.ts";

const is =
  (code: KeyBackupErrorCode, text?: RegExp) =>
  (error: unknown): boolean =>
    error instanceof KeyBackupError && error.code === code && (text === undefined || text.test(error.message));
const sessionFor = (backup: string): { readonly session: RestoreSession; readonly secretKey: Uint8Array } => {
  const { secretKey, publicKey } = operatorKeyFromPem(generateOperatorKey().pem);
  return {
    secretKey,
    session: { backup, domain: "kms.example.com", publicKey, attestation: new Uint8Array([1]), vmConfig: "{}" },
  };
};

test("a backup comes back as it was written, and each operator opens the own share alone", () => {
  const { bytes, backup, operators, shares } = fixture();
  const read = decodeBackup(bytes);
  assert.deepEqual(read.header, {
    ...backup.header,
    operators: backup.header.operators.map((key) => new Uint8Array(key)),
  });
  assert.deepEqual(read.sealedKeys, backup.sealedKeys);
  for (const [index, operator] of operators.entries())
    assert.deepEqual(openOwnShare(read, operator), { index, share: shares[index] });
  assert.throws(() => openOwnShare(read, operatorKeyFromPem(generateOperatorKey().pem)), is("not-an-operator"));
});

test("a share that moved to another operator's place opens for nobody", () => {
  const { backup, rootCa, operators } = fixture();
  const [a, b, c] = backup.shares;
  const swapped = decodeBackup(encodeBackup({ ...backup, shares: [b!, a!, c!] }, rootCa));
  for (const operator of operators.slice(0, 2)) assert.throws(() => openOwnShare(swapped, operator), is("cannot-open"));
});

test("a share of one backup opens in no other, though operators and threshold are the same", () => {
  const { backup, rootCa, operators } = fixture();
  const other = decodeBackup(encodeBackup({ ...backup, header: { ...backup.header, id: "00".repeat(16) } }, rootCa));
  assert.throws(() => openOwnShare(other, operators[0]!), is("cannot-open"));
});

test("a sealed share with another hash beside it is refused: whoever signed it would blame the operator", () => {
  const { backup, rootCa, operators } = fixture();
  const [first, ...rest] = backup.shares;
  const wrong = decodeBackup(
    encodeBackup({ ...backup, shares: [{ ...first!, hash: new Uint8Array(32) }, ...rest] }, rootCa),
  );
  assert.throws(
    () => openOwnShare(wrong, operators[0]!),
    is("cannot-open", /not the one that the backup gives operator 1/),
  );
});

test("every change of a byte in a backup is refused", () => {
  const { bytes } = fixture();
  for (let at = 0; at < bytes.length; at += 3) {
    const changed = bytes.slice();
    changed[at]! ^= 1;
    assert.throws(
      () => decodeBackup(changed),
      (error: unknown) => error instanceof KeyBackupError,
      `byte ${at}`,
    );
  }
});

test("a backup signed by another key than it names is refused, and so is every other spelling of it", () => {
  const { bytes, backup, rootCa } = fixture();
  const text = utf8Decode(bytes);
  const edited = (from: string | RegExp, to: string): Uint8Array => utf8(text.replace(from, to));
  assert.throws(
    () => encodeBackup({ ...backup, header: { ...backup.header, rootCaPublicKey: spkiDer(generateP256()) } }, rootCa),
    is("backup-forged"),
  );
  assert.throws(
    () => decodeBackup(edited(toHex(spkiDer(rootCa)), toHex(spkiDer(generateP256())))),
    is("backup-forged"),
  );
  assert.throws(() => decodeBackup(edited(toHex(spkiDer(rootCa)), "00".repeat(91))), is("backup-forged"));
  assert.throws(() => decodeBackup(edited('"threshold": 2', '"threshold": 3')), is("backup-forged"));
  assert.throws(() => decodeBackup(edited('"version": 1', '"version": 2')), is("file-malformed"));
  assert.throws(() => decodeBackup(edited('"version": 1,', '"version": 1, "more": 1,')), is("file-malformed"));
  assert.throws(
    () => decodeBackup(edited('"version": 1,', '"version": 1,\n  "version": 1,')),
    is("file-malformed", /spelled otherwise/),
  );
  assert.throws(() => decodeBackup(edited("\n", "\r\n")), is("file-malformed", /spelled otherwise/));
  assert.throws(() => decodeBackup(utf8(text.trimEnd())), is("file-malformed", /spelled otherwise/));
  assert.throws(() => decodeBackup(utf8(`\ufeff${text}`)), is("file-malformed"));
  assert.throws(() => decodeBackup(utf8("x".repeat(70_000))), is("file-malformed", /at most 65536/));
});

test("fewer than two operators, a threshold above their number, and one key twice are refused", () => {
  const { backup, rootCa, header } = fixture();
  const [a, b] = header.operators;
  const write = (change: Partial<typeof header>): Uint8Array => {
    const changed = { ...header, ...change };
    return encodeBackup(
      {
        ...backup,
        header: changed,
        shares: changed.operators.map((_, index) => sealOperatorShare(changed, index, new Uint8Array(33))),
      },
      rootCa,
    );
  };
  write({});
  assert.throws(() => write({ threshold: 1 }), is("file-malformed", /threshold/));
  assert.throws(() => write({ operators: [a!] }), is("file-malformed", /operators/));
  assert.throws(() => write({ threshold: 4 }), is("operators-invalid", /4 shares are needed and there are 3/));
  assert.throws(() => write({ operators: [a!, b!, a!] }), is("operators-invalid", /twice/));
});

test("a share opened for a session reaches that session alone, once it is the right one", () => {
  const { bytes, operators, shares } = fixture();
  const backup = decodeBackup(bytes);
  const hash = backupHash(bytes);
  const { session, secretKey } = sessionFor(hash);
  const { index, share } = openOwnShare(backup, operators[1]!);
  const resealed = decodeShare(encodeShare(resealShare(session, index, share, operators[1]!)));
  const receiver = { backup: hash, secretKey, publicKey: session.publicKey };
  assert.deepEqual(openResealedShare(backup, receiver, resealed), shares[1]);

  const later = sessionFor(hash);
  assert.throws(
    () =>
      openResealedShare(
        backup,
        { ...receiver, secretKey: later.secretKey, publicKey: later.session.publicKey },
        resealed,
      ),
    is("cannot-open", /another session/),
  );
  assert.throws(
    () =>
      openResealedShare(
        backup,
        { ...receiver, secretKey: later.secretKey, publicKey: later.session.publicKey },
        { ...resealed, session: later.session.publicKey },
      ),
    is("cannot-open"),
  );
  assert.throws(
    () => openResealedShare(backup, { ...receiver, backup: "00".repeat(32) }, resealed),
    is("wrong-backup"),
  );
  assert.throws(
    () => openResealedShare(backup, { ...receiver, backup: "00".repeat(32) }, { ...resealed, backup: "00".repeat(32) }),
    is("cannot-open"),
  );
  assert.throws(() => openResealedShare(backup, receiver, { ...resealed, operator: 0 }), is("cannot-open"));
  assert.throws(() => openResealedShare(backup, receiver, { ...resealed, operator: 3 }), is("not-an-operator"));
  assert.throws(
    () => openResealedShare(backup, receiver, resealShare(session, 1, share, operators[0]!)),
    is("cannot-open", /by somebody else/),
    "whoever knows a share is not yet its operator",
  );
  assert.throws(
    () => openResealedShare(backup, receiver, resealShare(session, 0, share, operators[0]!)),
    is("cannot-open", /not the one that the backup gives operator 1/),
  );
});

test("sessions and shares come back as they were written, and in no other spelling", () => {
  const { session } = sessionFor("ab".repeat(32));
  const sessionBytes = encodeSession(session);
  assert.deepEqual(decodeSession(sessionBytes), { ...session, publicKey: new Uint8Array(session.publicKey) });
  const shareBytes = encodeShare(
    resealShare(session, 3, new Uint8Array(33), operatorKeyFromPem(generateOperatorKey().pem)),
  );
  assert.equal(decodeShare(shareBytes).operator, 3);
  for (const [bytes, decode] of [
    [sessionBytes, decodeSession],
    [shareBytes, decodeShare],
  ] as const) {
    for (const changed of [
      bytes.slice(0, -1),
      utf8(utf8Decode(bytes).replace("{", "{ ")),
      utf8(utf8Decode(bytes).replace(/"version": \d/, '"version": 9')),
      new Uint8Array([0xff]),
    ]) {
      assert.throws(() => decode(changed), is("file-malformed"));
    }
  }
});

test("a session of the version before, which names no domain, is refused by name", () => {
  const { session } = sessionFor("ab".repeat(32));
  const older = utf8Decode(encodeSession(session))
    .replace('"version": 2', '"version": 1')
    .replace(/ *"domain": .*\n/, "");
  assert.throws(
    () => decodeSession(utf8(older)),
    is("file-malformed", /A session of version 1 does not say for which domain/),
  );
});

test("the report data of a session changes with its key, its backup and its domain", () => {
  const one = { publicKey: new Uint8Array(32).fill(1), backup: "00".repeat(32), domain: "a.example" };
  const all = [
    one,
    { ...one, publicKey: new Uint8Array(32).fill(2) },
    { ...one, backup: "01".repeat(32) },
    { ...one, domain: "b.example" },
  ].map((session) => toHex(restoreReportData(session)));
  assert.equal(new Set(all).size, 4);
});

test("a sealed box opens with its key and its context alone", () => {
  const mine = operatorKeyFromPem(generateOperatorKey().pem);
  const other = operatorKeyFromPem(generateOperatorKey().pem);
  const sealed = sealTo(mine.publicKey, utf8("secret"), utf8("one"));
  assert.equal(utf8Decode(openSealed(mine.secretKey, sealed, utf8("one"))), "secret");
  assert.ok(!equalBytes(sealed, sealTo(mine.publicKey, utf8("secret"), utf8("one"))));
  assert.throws(() => openSealed(other.secretKey, sealed, utf8("one")), is("cannot-open"));
  assert.throws(() => openSealed(mine.secretKey, sealed, utf8("two")), is("cannot-open"));
  const signed = sealTo(mine.publicKey, utf8("secret"), utf8("one"), other);
  assert.equal(utf8Decode(openSealed(mine.secretKey, signed, utf8("one"), other.publicKey)), "secret");
  for (const sender of [undefined, mine.publicKey])
    assert.throws(() => openSealed(mine.secretKey, signed, utf8("one"), sender), is("cannot-open"));
  assert.throws(() => openSealed(mine.secretKey, sealed, utf8("one"), other.publicKey), is("cannot-open"));
  assert.throws(() => openSealed(mine.secretKey, sealed.subarray(0, 48), utf8("one")), is("cannot-open"));
  for (let at = 0; at < sealed.length; at++) {
    const changed = sealed.slice();
    changed[at]! ^= 1;
    assert.throws(() => openSealed(mine.secretKey, changed, utf8("one")), is("cannot-open"), `byte ${at}`);
  }
});

test("keys of OpenSSL are operator keys, other kinds are not, and no text of a secret key reaches an error", () => {
  const pem = execFileSync("openssl", ["genpkey", "-algorithm", "x25519"], { encoding: "utf8" });
  const der = execFileSync("openssl", ["pkey", "-pubout", "-outform", "DER"], { input: pem });
  assert.deepEqual(operatorKeyFromPem(pem).publicKey, new Uint8Array(der.subarray(-32)));
  const ours = generateOperatorKey();
  assert.deepEqual(operatorKeyFromPem(ours.pem).publicKey, ours.publicKey);
  for (const text of [
    "",
    "nonsense",
    ours.pem.replace("BEGIN PRIVATE", "BEGIN PUBLIC"),
    ours.pem.replace("\n", "\nAAAA"),
    execFileSync("openssl", ["genpkey", "-algorithm", "ed25519"], { encoding: "utf8" }),
  ]) {
    assert.throws(
      () => operatorKeyFromPem(text),
      (error: unknown) => is("key-malformed")(error) && (error as Error).cause === undefined,
    );
  }
});

test("a public key to which everybody knows the secret is no operator's key", () => {
  const { publicKey } = generateOperatorKey();
  assert.deepEqual(parseOperatorPublicKey(toHex(publicKey)), publicKey);
  for (const text of [
    "",
    "00".repeat(32),
    `01${"00".repeat(31)}`,
    "ab".repeat(31),
    "zz".repeat(32),
    `${"ab".repeat(31)}ff`,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  ])
    assert.throws(() => parseOperatorPublicKey(text), is("key-malformed"), text);
});
