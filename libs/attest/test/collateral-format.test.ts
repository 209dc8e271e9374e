import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { concatBytes, parseHex, toHex } from "@dstack/bytes";
import {
  derBitString,
  derBoolean,
  derContext,
  derElement,
  derEnumerated,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
  readPem,
  TAG,
  writePem,
} from "@dstack/der";
import {
  AttestError,
  basicConstraints,
  collateralFromJson,
  collateralToJson,
  commonName,
  ecdsaSignature,
  maySignCertificates,
  OID,
  p256Point,
  parseCertificate,
  parseRevocationList,
  planCollateral,
  readPckExtension,
  refuseCritical,
  SGX_EXTENSION,
  trustAnchorFromPem,
} from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { forge, goodScene, goodSgxScene } from "../../../tests/forge/forged-evidence.ts";
import { forgeRevocationList } from "../../../tests/forge/forged-certificates.ts";
import { keyOf } from "../../../tests/forge/forging-keys.ts";
import type { Forged, Scene } from "../../../tests/forge/forged-evidence.ts";
import { spkiDer } from "@dstack/keys";
import { pinnedRoot } from "../src/trust-anchor.ts";
import { failuresOf, verifyScene } from "./forged.ts";

const forged: Forged = forge(goodScene());
const trustAnchor = trustAnchorFromPem(forged.rootPem);
const plan = (change: Readonly<Record<string, unknown>>): unknown =>
  planCollateral(collateralFromJson({ ...forged.collateral, ...change }), trustAnchor);
/** Twenty kilobytes of SEQUENCE in SEQUENCE. */
const NESTED = (() => {
  let element: Uint8Array = derSequence();
  while (element.length < 20_000) element = derSequence(element);
  return element;
})();

function refuses(code: string, says: RegExp, read: () => unknown, what = ""): void {
  assert.throws(
    read,
    (error: unknown) => {
      assert.ok(error instanceof AttestError, `${what} ${String(error)}`);
      assert.equal(error.code, code, `${what} ${error.message}`);
      assert.match(error.message, says, what);
      return true;
    },
    what,
  );
}

test("reads the exchange form and writes it back", () => {
  const value = { ...forged.collateral, pck_certificate_chain: forged.rootPem };
  assert.deepEqual(collateralToJson(collateralFromJson(value)), value);
  assert.deepEqual(
    collateralToJson(collateralFromJson({ ...forged.collateral, pck_certificate_chain: null })),
    forged.collateral,
  );
});

test("refuses the exchange form without one of its members, or with another type", () => {
  for (const name of Object.keys(forged.collateral)) {
    for (const value of [undefined, null, 1, {}, []])
      refuses("collateral-malformed", new RegExp(`${name} is not text`), () =>
        collateralFromJson({ ...forged.collateral, [name]: value }),
      );
    refuses("collateral-malformed", /not text of at most 1048576/, () =>
      collateralFromJson({ ...forged.collateral, [name]: "0".repeat(1024 * 1024 + 2) }),
    );
  }
  for (const name of ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"]) {
    for (const value of ["zz", "abc"])
      refuses("collateral-malformed", new RegExp(`${name} is not hex`), () =>
        collateralFromJson({ ...forged.collateral, [name]: value }),
      );
  }
  refuses("collateral-malformed", /pck_certificate_chain is not text/, () =>
    collateralFromJson({ ...forged.collateral, pck_certificate_chain: 1 }),
  );
  for (const value of [null, "x", 1]) refuses("collateral-malformed", /not an object/, () => collateralFromJson(value));
});

test("refuses revocation lists and certificates cut at any byte, or with one byte more", () => {
  for (const name of ["root_ca_crl", "pck_crl"]) {
    const hex = forged.collateral[name] ?? "";
    for (let length = 0; length < hex.length; length += 2)
      refuses("collateral-malformed", /./, () => plan({ [name]: hex.slice(0, length) }), `${name} ${length / 2}`);
    refuses("collateral-malformed", /1 bytes after the element/, () => plan({ [name]: `${hex}00` }));
  }
  const [signer] = readPem(forged.collateral["tcb_info_issuer_chain"] ?? "", "CERTIFICATE");
  for (let length = 1; length < signer!.length; length++)
    refuses(
      "collateral-malformed",
      /./,
      () => plan({ tcb_info_issuer_chain: writePem(signer!.subarray(0, length), "CERTIFICATE") }),
      String(length),
    );
  refuses("collateral-malformed", /after the element/, () =>
    plan({ tcb_info_issuer_chain: writePem(concatBytes(signer!, Uint8Array.of(0)), "CERTIFICATE") }),
  );
});

test("refuses chains that are no PEM", () => {
  for (const [text, says] of [
    ["", /no CERTIFICATE block/],
    ["-----BEGIN CERTIFICATE-----\nMAA\n-----END CERTIFICATE-----\n", /not canonical base64/],
    [forged.rootPem.replaceAll("CERTIFICATE", "PRIVATE KEY"), /expected CERTIFICATE, got PRIVATE KEY/],
    [forged.rootPem.repeat(17), /over 16 blocks/],
  ] as const) {
    for (const name of ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"])
      refuses("collateral-malformed", says, () => plan({ [name]: text }), name);
  }
});

test("refuses twenty kilobytes of nested ASN.1 wherever DER is read, at once", () => {
  assert.ok(NESTED.length >= 20_000);
  const pem = writePem(NESTED, "CERTIFICATE");
  refuses("collateral-malformed", /./, () => plan({ root_ca_crl: toHex(NESTED) }));
  refuses("collateral-malformed", /./, () => plan({ pck_crl: toHex(NESTED) }));
  refuses("collateral-malformed", /./, () => plan({ tcb_info_issuer_chain: pem }));
  refuses("trust-anchor-invalid", /./, () => trustAnchorFromPem(pem));
  const verification = verifyQuote(
    forged.quote,
    collateralFromJson({ ...forged.collateral, pck_certificate_chain: pem }),
    { now: forged.now, trustAnchor },
  );
  assert.equal(verification.checks.at(-1)?.name, "pck-chain");
  assert.equal(verification.checks.at(-1)?.code, "certificate-malformed");
  const certificate = parseCertificate(forged.rootDer);
  for (const oid of [SGX_EXTENSION, OID.basicConstraints, OID.keyUsage]) {
    const hostile = { ...certificate, extensions: new Map([[oid, { critical: false, value: NESTED }]]) };
    const read =
      oid === SGX_EXTENSION ? readPckExtension : oid === OID.keyUsage ? maySignCertificates : basicConstraints;
    assert.throws(() => read(hostile), /SGX extension|basicConstraints|keyUsage|BIT STRING/, oid);
  }
  assert.throws(() => p256Point(NESTED), /public key/);
  assert.throws(() => ecdsaSignature(NESTED), /ECDSA signature/);
  assert.throws(() => commonName(NESTED), /name/);
});

const times = (length: number, item: object): object[] => Array.from({ length }, () => item);

const tcbRows: readonly (readonly [string, (tcbInfo: Record<string, unknown>) => void, RegExp])[] = [
  [
    "no version",
    (json) => {
      delete json["version"];
    },
    /version is not a natural number/,
  ],
  [
    "version 2 for TDX",
    (json) => {
      json["version"] = 2;
    },
    /id TDX version 2, expected TDX of version 3 or higher, or SGX of 2 or higher/,
  ],
  [
    "another id",
    (json) => {
      json["id"] = "TPM";
    },
    /id TPM version 3/,
  ],
  [
    "no id in version 3",
    (json) => {
      delete json["id"];
    },
    /id is not text/,
  ],
  [
    "a date without zone",
    (json) => {
      json["issueDate"] = "2030-06-14T00:00:00";
    },
    /issueDate is not a time/,
  ],
  [
    "a date that is none",
    (json) => {
      json["nextUpdate"] = "2030-13-14T00:00:00Z";
    },
    /nextUpdate is not a time/,
  ],
  [
    "an FMSPC of five bytes",
    (json) => {
      json["fmspc"] = "0000000000";
    },
    /fmspc: expected 6 bytes, got 5/,
  ],
  [
    "a PCEID that is not hex",
    (json) => {
      json["pceId"] = "00zz";
    },
    /pceId: not hexadecimal/,
  ],
  [
    "no levels",
    (json) => {
      delete json["tcbLevels"];
    },
    /tcbLevels is not a list/,
  ],
  [
    "levels above the limit",
    (json) => {
      json["tcbLevels"] = times(1025, {});
    },
    /not a list of at most 1024/,
  ],
  [
    "a level that is no object",
    (json) => {
      json["tcbLevels"] = [1];
    },
    /tcbLevels: not an object/,
  ],
  [
    "a level that is a list",
    (json) => {
      json["tcbLevels"] = [[]];
    },
    /tcbLevels: not an object/,
  ],
  [
    "15 SGX components",
    (json) => {
      tcbOf(json)["sgxtcbcomponents"] = times(15, { svn: 0 });
    },
    /sgxtcbcomponents holds 15 components, expected 16/,
  ],
  [
    "17 TDX components",
    (json) => {
      tcbOf(json)["tdxtcbcomponents"] = times(17, { svn: 0 });
    },
    /tdxtcbcomponents holds 17 components, expected 16/,
  ],
  [
    "no TDX components",
    (json) => {
      delete tcbOf(json)["tdxtcbcomponents"];
    },
    /tdxtcbcomponents is not a list/,
  ],
  [
    "a component without svn",
    (json) => {
      tcbOf(json)["sgxtcbcomponents"] = times(16, {});
    },
    /sgxtcbcomponents: svn is not a natural number/,
  ],
  [
    "a component that is null",
    (json) => {
      tcbOf(json)["sgxtcbcomponents"] = Array(16).fill(null);
    },
    /svn is not a natural number/,
  ],
  [
    "a negative component",
    (json) => {
      tcbOf(json)["sgxtcbcomponents"] = times(16, { svn: -1 });
    },
    /svn is not a natural number/,
  ],
  [
    "a PCE version in parts",
    (json) => {
      tcbOf(json)["pcesvn"] = 1.5;
    },
    /pcesvn is not a natural number/,
  ],
  [
    "a PCE version above two bytes",
    (json) => {
      tcbOf(json)["pcesvn"] = 65_536;
    },
    /pcesvn is not a natural number of at most 65535/,
  ],
  [
    "a component above a byte",
    (json) => {
      tcbOf(json)["tdxtcbcomponents"] = times(16, { svn: 256 });
    },
    /tdxtcbcomponents: svn is not a natural number of at most 255/,
  ],
  [
    "a PCE version as text",
    (json) => {
      tcbOf(json)["pcesvn"] = "1";
    },
    /pcesvn is not a natural number/,
  ],
  [
    "a status nobody knows",
    (json) => {
      levelOf(json)["tcbStatus"] = "Fine";
    },
    /TCB status "Fine", expected one of UpToDate/,
  ],
  [
    "advisories that are no texts",
    (json) => {
      levelOf(json)["advisoryIDs"] = [1];
    },
    /advisoryIDs is not a list of texts/,
  ],
  [
    "advisories that are no list",
    (json) => {
      levelOf(json)["advisoryIDs"] = "INTEL-SA-1";
    },
    /advisoryIDs is not a list of texts/,
  ],
  [
    "a date of level that is no text",
    (json) => {
      levelOf(json)["tcbDate"] = 5;
    },
    /tcbDate is not text/,
  ],
  [
    "a date of level that is no date",
    (json) => {
      levelOf(json)["tcbDate"] = "soon";
    },
    /tcbDate is not a time/,
  ],
  [
    "a module signer of 47 bytes",
    (json) => {
      (json["tdxModule"] as Record<string, unknown>)["mrsigner"] = "00".repeat(47);
    },
    /mrsigner: expected 48 bytes/,
  ],
  [
    "a module identity without levels",
    (json) => {
      delete (json["tdxModuleIdentities"] as Record<string, unknown>[])[0]!["tcbLevels"];
    },
    /tcbLevels is not a list/,
  ],
  [
    "module identities that are no list",
    (json) => {
      json["tdxModuleIdentities"] = {};
    },
    /tdxModuleIdentities is not a list/,
  ],
  [
    "no evaluation number",
    (json) => {
      delete json["tcbEvaluationDataNumber"];
    },
    /tcbEvaluationDataNumber is not a natural number/,
  ],
];

for (const [what, edit, says] of tcbRows) {
  test(`refuses TCB info with ${what}`, () => {
    const scene = goodScene();
    edit(scene.tcbInfo);
    refusesScene(scene, says);
  });
}

const qeRows: readonly (readonly [string, (identity: Record<string, unknown>) => void, RegExp])[] = [
  [
    "no id",
    (json) => {
      delete json["id"];
    },
    /QE identity: id is not text/,
  ],
  [
    "no version",
    (json) => {
      delete json["version"];
    },
    /version is not a natural number/,
  ],
  [
    "a MISCSELECT of three bytes",
    (json) => {
      json["miscselect"] = "000000";
    },
    /miscselect: expected 4 bytes/,
  ],
  [
    "a mask of attributes of eight bytes",
    (json) => {
      json["attributesMask"] = "00".repeat(8);
    },
    /attributesMask: expected 16 bytes/,
  ],
  [
    "a signer of 48 bytes",
    (json) => {
      json["mrsigner"] = "00".repeat(48);
    },
    /mrsigner: expected 32 bytes/,
  ],
  [
    "a product as text",
    (json) => {
      json["isvprodid"] = "2";
    },
    /isvprodid is not a natural number/,
  ],
  [
    "a level without version",
    (json) => {
      json["tcbLevels"] = [{ tcb: {}, tcbDate: "2029-08-14T00:00:00Z", tcbStatus: "UpToDate" }];
    },
    /isvsvn is not a natural number/,
  ],
  [
    "a level without tcb",
    (json) => {
      json["tcbLevels"] = [{ tcbDate: "2029-08-14T00:00:00Z", tcbStatus: "UpToDate" }];
    },
    /QE identity tcbLevels tcb: not an object/,
  ],
];

for (const [what, edit, says] of qeRows) {
  test(`refuses a QE identity with ${what}`, () => {
    const scene = goodScene();
    edit(scene.qeIdentity);
    refusesScene(scene, says);
  });
}

test("reads TCB info from version 3 for TDX and 2 for SGX, and none before", () => {
  const old = goodSgxScene();
  old.tcbInfo["version"] = 1;
  refusesScene(old, /id SGX version 1, expected TDX of version 3 or higher, or SGX of 2 or higher/);
  for (const scene of [goodScene(), goodSgxScene()]) {
    scene.tcbInfo["version"] = 4;
    assert.equal(verifyScene(scene).ok, true);
  }
});

test("takes times with an offset for what they are, and members that are null for absent", () => {
  const scene = goodScene();
  scene.tcbInfo["nextUpdate"] = new Date((scene.now + 7200) * 1000).toISOString().replace("Z", "+02:00");
  assert.ok(verifyScene(scene).ok);
  assert.deepEqual(failuresOf(verifyScene(scene, { now: scene.now + 1 })), ["collateral-fresh collateral-expired"]);
  const without = goodScene();
  Object.assign(without.tcbInfo, { tdxModule: null, tdxModuleIdentities: null });
  assert.deepEqual(failuresOf(verifyScene(without)), ["tdx-module module-unknown", "tcb-status tcb-level-missing"]);
});

test("refuses documents that are no JSON objects", () => {
  for (const name of ["tcb_info", "qe_identity"]) {
    for (const text of ["", "{", `{"id":"TDX"} x`])
      refuses("collateral-malformed", /not valid JSON/, () => plan({ [name]: text }), `${name} ${text}`);
    for (const text of ["[]", "null", "1", '"x"'])
      refuses(
        "collateral-malformed",
        /(TCB info|QE identity): not an object/,
        () => plan({ [name]: text }),
        `${name} ${text}`,
      );
  }
});

test("refuses signatures of other lengths than 64 bytes", () => {
  for (const name of ["tcb_info", "qe_identity"]) {
    const hex = forged.collateral[`${name}_signature`] ?? "";
    for (const wrong of ["", hex.slice(2), `${hex}00`]) {
      const verification = verifyQuote(
        forged.quote,
        collateralFromJson({ ...forged.collateral, [`${name}_signature`]: wrong }),
        { now: forged.now, trustAnchor },
      );
      assert.deepEqual(failuresOf(verification), [
        `${name === "tcb_info" ? "tcb-info" : "qe-identity"} collateral-malformed`,
      ]);
      assert.match(verification.ok ? "" : verification.reason, /signature of \d+ bytes, expected 64/);
    }
  }
});

test("refuses a signed document changed by one space", () => {
  const verification = verifyQuote(
    forged.quote,
    collateralFromJson({ ...forged.collateral, tcb_info: `${forged.collateral["tcb_info"]} ` }),
    { now: forged.now, trustAnchor },
  );
  assert.deepEqual(failuresOf(verification), ["tcb-info signature-invalid"]);
});

// Everything below is read with signatures aside: what a certificate may say at all.
const algorithm = derSequence(derOid(OID.ecdsaWithSha256));
const name = (text: string): Uint8Array => derSequence(derSet(derSequence(derOid(OID.commonName), derUtf8(text))));
const validity = derSequence(derTime(0), derTime(10));
const extension = (oid: string, value: Uint8Array, critical?: boolean): Uint8Array =>
  derSequence(derOid(oid), ...(critical === undefined ? [] : [derBoolean(critical)]), derOctetString(value));
const signature = derBitString(derSequence(derUnsigned(1), derUnsigned(1)));

interface Parts {
  validity?: Uint8Array;
  version?: Uint8Array | undefined;
  serial?: Uint8Array;
  inner?: Uint8Array;
  outer?: Uint8Array;
  extensions?: Uint8Array | undefined;
  signature?: Uint8Array;
  more?: Uint8Array;
  last?: Uint8Array;
}

function certificate(parts: Parts = {}): Uint8Array {
  const {
    serial = derUnsigned(1),
    inner = algorithm,
    outer = algorithm,
    more = new Uint8Array(0),
    last = new Uint8Array(0),
  } = parts;
  const version = "version" in parts ? (parts.version ?? new Uint8Array(0)) : derContext(0, true, derUnsigned(2));
  const extensions = parts.extensions ?? new Uint8Array(0);
  const tbs = derElement(
    TAG.sequence,
    concatBytes(
      version,
      serial,
      inner,
      name("a"),
      parts.validity ?? validity,
      name("b"),
      spkiDer(keyOf("pck")),
      extensions,
      more,
    ),
  );
  return derElement(TAG.sequence, concatBytes(tbs, outer, parts.signature ?? signature, last));
}

const otherAlgorithm = derSequence(derOid("1.2.840.10045.4.3.3"));
const certificateRows: readonly (readonly [string, Parts, RegExp])[] = [
  ["no version", { version: undefined }, /not an X.509 v3 certificate/],
  ["version 1", { version: derContext(0, true, derUnsigned(0)) }, /not an X.509 v3 certificate/],
  [
    "two versions",
    { version: derContext(0, true, concatBytes(derUnsigned(2), derUnsigned(2))) },
    /version: expected one element/,
  ],
  ["two different algorithms", { outer: otherAlgorithm }, /two different signature algorithms/],
  [
    "a validity of three times",
    { validity: derSequence(derTime(0), derTime(10), derTime(20)) },
    /validity: 1 fields too many/,
  ],
  ["a field too many inside", { more: derUnsigned(1) }, /fields too many/],
  ["a field too many outside", { last: derUnsigned(1) }, /fields too many/],
  ["a signature that is not whole octets", { signature: derBitString(Uint8Array.of(0x80), 1) }, /not whole octets/],
  [
    "an extension twice",
    {
      extensions: derContext(
        3,
        true,
        derSequence(extension("1.2.3", derUnsigned(1)), extension("1.2.3", derUnsigned(1))),
      ),
    },
    /extension 1\.2\.3 comes twice/,
  ],
  [
    "two lists of extensions",
    { extensions: derContext(3, true, concatBytes(derSequence(), derSequence())) },
    /extensions: expected one element/,
  ],
  [
    "an extension with more in it",
    {
      extensions: derContext(
        3,
        true,
        derSequence(derSequence(derOid("1.2.3"), derOctetString(new Uint8Array(0)), derUnsigned(1))),
      ),
    },
    /fields too many/,
  ],
];

for (const [what, parts, says] of certificateRows) {
  test(`refuses a certificate with ${what}`, () => {
    assert.ok(parseCertificate(certificate()));
    assert.throws(() => parseCertificate(certificate(parts)), says);
  });
}

test("reads what extensions say of an authority", () => {
  const read = (value: Uint8Array, oid: string = OID.basicConstraints): ReturnType<typeof parseCertificate> =>
    parseCertificate(certificate({ extensions: derContext(3, true, derSequence(extension(oid, value, true))) }));
  assert.deepEqual(basicConstraints(parseCertificate(certificate())), { ca: false });
  assert.deepEqual(basicConstraints(read(derSequence())), { ca: false });
  assert.deepEqual(basicConstraints(read(derSequence(derBoolean(true)))), { ca: true });
  assert.deepEqual(basicConstraints(read(derSequence(derBoolean(true), derUnsigned(3)))), { ca: true, pathLength: 3 });
  assert.throws(
    () => basicConstraints(read(derSequence(derBoolean(true), derUnsigned(3), derUnsigned(3)))),
    /fields too many/,
  );
  assert.equal(maySignCertificates(parseCertificate(certificate())), false);
  for (const [bits, unused, may] of [
    [0x04, 2, true],
    [0x06, 1, true],
    [0x80, 7, false],
    [0x02, 1, false],
  ] as const) {
    assert.equal(
      maySignCertificates(read(derBitString(Uint8Array.of(bits), unused), OID.keyUsage)),
      may,
      bits.toString(16),
    );
  }
  assert.equal(maySignCertificates(read(derBitString(new Uint8Array(0)), OID.keyUsage)), false);
  const { extensions } = read(derSequence(), "1.2.3");
  refuses("certificate-malformed", /unknown critical extension 1\.2\.3/, () => refuseCritical(extensions, [], "it"));
  refuseCritical(extensions, ["1.2.3"], "it");
  refuseCritical(
    parseCertificate(
      certificate({
        extensions: derContext(
          3,
          true,
          derSequence(extension("1.2.3", derUnsigned(1)), extension("1.2.4", derUnsigned(1), false)),
        ),
      }),
    ).extensions,
    [],
    "it",
  );
});

test("takes only uncompressed P-256 keys and ECDSA signatures that fit them", () => {
  const point = keyOf("pck").publicPoint;
  const spki = (oid: string, curve: string, bits: Uint8Array, ...more: Uint8Array[]): Uint8Array =>
    derSequence(derSequence(derOid(oid), derOid(curve), ...more), derBitString(bits));
  assert.deepEqual(p256Point(spki(OID.ecPublicKey, OID.prime256v1, point)), point);
  for (const wrong of [
    spki("1.2.840.113549.1.1.1", OID.prime256v1, point),
    spki(OID.ecPublicKey, "1.3.132.0.34", point),
    spki(OID.ecPublicKey, OID.prime256v1, point.subarray(0, 64)),
    spki(OID.ecPublicKey, OID.prime256v1, concatBytes(point, Uint8Array.of(0))),
    spki(OID.ecPublicKey, OID.prime256v1, Uint8Array.from(point).fill(2, 0, 1)),
  ])
    refuses("certificate-malformed", /not an uncompressed P-256 point/, () => p256Point(wrong));
  assert.throws(() => p256Point(spki(OID.ecPublicKey, OID.prime256v1, point, derUnsigned(1))), /fields too many/);
  assert.throws(() => p256Point(derSequence(spki(OID.ecPublicKey, OID.prime256v1, point), derUnsigned(1))), /./);
  const integer = (bytes: Uint8Array): Uint8Array => derElement(TAG.integer, bytes);
  const high = concatBytes(Uint8Array.of(0), new Uint8Array(32).fill(0xff));
  assert.deepEqual(
    ecdsaSignature(derSequence(integer(Uint8Array.of(1)), integer(high))),
    concatBytes(new Uint8Array(31), Uint8Array.of(1), new Uint8Array(32).fill(0xff)),
  );
  for (const r of [
    integer(Uint8Array.of(0x80)),
    integer(concatBytes(Uint8Array.of(1), new Uint8Array(32))),
    integer(concatBytes(Uint8Array.of(0), new Uint8Array(33).fill(0xff))),
  ]) {
    refuses("certificate-malformed", /value out of range/, () =>
      ecdsaSignature(derSequence(r, integer(Uint8Array.of(1)))),
    );
    refuses("certificate-malformed", /value out of range/, () =>
      ecdsaSignature(derSequence(integer(Uint8Array.of(1)), r)),
    );
  }
  assert.throws(() => ecdsaSignature(derSequence(derUnsigned(1), derUnsigned(1), derUnsigned(1))), /fields too many/);
});

test("reads the last common name of a name", () => {
  assert.equal(commonName(derSequence()), "");
  assert.equal(commonName(derSequence(derSet(derSequence(derOid("2.5.4.10"), derUtf8("o"))))), "");
  assert.equal(
    commonName(
      derSequence(
        derSet(derSequence(derOid(OID.commonName), derUtf8("a"))),
        derSet(derSequence(derOid(OID.commonName), derUtf8("b"))),
      ),
    ),
    "b",
  );
});

const crlNumber = extension(OID.crlNumber, derUnsigned(1));

interface ListParts {
  version?: Uint8Array;
  inner?: Uint8Array;
  next?: Uint8Array;
  entries?: Uint8Array;
  extensions?: Uint8Array;
  more?: Uint8Array;
  last?: Uint8Array;
}

function revocationList({
  version = derUnsigned(1),
  inner = algorithm,
  next = derTime(10),
  entries,
  extensions = derContext(0, true, derSequence(crlNumber)),
  more,
  last,
}: ListParts = {}): Uint8Array {
  const tbs = derElement(
    TAG.sequence,
    concatBytes(
      ...[version, inner, name("a"), derTime(0), next, entries, extensions, more].filter((part) => part !== undefined),
    ),
  );
  return derElement(
    TAG.sequence,
    concatBytes(...[tbs, algorithm, signature, last].filter((part) => part !== undefined)),
  );
}

const entry = (...parts: Uint8Array[]): Uint8Array => derSequence(derSequence(...parts));
const listRows: readonly (readonly [string, ListParts, RegExp])[] = [
  ["version 1", { version: derUnsigned(0) }, /CRL is not version 2/],
  ["no version, which is version 1", { version: new Uint8Array(0) }, /CRL is not version 2/],
  ["version 3", { version: derUnsigned(2) }, /CRL is not version 2/],
  ["no extensions", { extensions: new Uint8Array(0) }, /CRL without a number/],
  [
    "extensions of which none is its number",
    { extensions: derContext(0, true, derSequence(extension("2.5.29.35", derSequence()))) },
    /CRL without a number/,
  ],
  [
    "a number that is none",
    { extensions: derContext(0, true, derSequence(extension(OID.crlNumber, derSequence()))) },
    /CRL number: expected tag 0x02/,
  ],
  ["two different algorithms", { inner: otherAlgorithm }, /two different signature algorithms/],
  ["no next update", { next: new Uint8Array(0) }, /nextUpdate/],
  [
    "a critical extension",
    { extensions: derContext(0, true, derSequence(crlNumber, extension("2.5.29.27", derUnsigned(1), true))) },
    /CRL: unknown critical extension 2\.5\.29\.27/,
  ],
  ["a field too many inside", { more: derUnsigned(1) }, /fields too many/],
  ["a field too many outside", { last: derUnsigned(1) }, /fields too many/],
  ["an entry without date", { entries: entry(derUnsigned(1)) }, /revocationDate/],
  [
    "an entry with more in it",
    { entries: entry(derUnsigned(1), derTime(0), derSequence(), derUnsigned(1)) },
    /fields too many/,
  ],
  ["an entry whose date is none", { entries: entry(derUnsigned(1), derUnsigned(1)) }, /revocationDate/],
];

for (const [what, parts, says] of listRows) {
  test(`refuses a revocation list with ${what}`, () => {
    assert.ok(parseRevocationList(revocationList()));
    assert.throws(() => parseRevocationList(revocationList(parts)), says);
  });
}

test("reads revoked serial numbers, with and without extensions of an entry", () => {
  const list = parseRevocationList(
    revocationList({
      entries: derSequence(
        derSequence(derUnsigned(0x80), derTime(0)),
        derSequence(derUnsigned(5), derTime(0), derSequence()),
      ),
    }),
  );
  assert.deepEqual([...list.revoked], ["0080", "05"]);
  assert.deepEqual([list.thisUpdate, list.nextUpdate], [0, 10]);
});

test("reads the platform's extension of a PCK certificate, and refuses parts that are missing, doubled or of another size", () => {
  const item = (arc: string, value: Uint8Array): Uint8Array => derSequence(derOid(`${SGX_EXTENSION}.${arc}`), value);
  const zeros = (length: number): Uint8Array => derOctetString(new Uint8Array(length));
  const components = Array.from({ length: 16 }, (_, index) => item(`2.${index + 1}`, derUnsigned(index)));
  const tcb = (...items: Uint8Array[]): Uint8Array => item("2", derSequence(...items));
  const good = {
    "1": item("1", zeros(16)),
    "2": tcb(
      ...components,
      item("2.17", derUnsigned(13)),
      item("2.18", derOctetString(Uint8Array.from({ length: 16 }, (_, i) => 99 - i))),
    ),
    "3": item("3", zeros(2)),
    "4": item("4", zeros(6)),
    "5": item("5", derEnumerated(0)),
  };
  const read = (...items: Uint8Array[]): ReturnType<typeof readPckExtension> =>
    readPckExtension({
      ...parseCertificate(certificate()),
      extensions: new Map([[SGX_EXTENSION, { critical: false, value: derSequence(...items) }]]),
    });
  const platform = read(...Object.values(good));
  assert.deepEqual(
    platform.tcbComponents,
    Array.from({ length: 16 }, (_, index) => index),
  );
  assert.deepEqual([platform.cpuSvn[0], platform.pceSvn, platform.sgxType], [99, 13, 0]);
  assert.deepEqual(
    read(...Object.values(good).toReversed(), derSequence(derOid("1.2.3"), derUnsigned(1)), item("99", derUnsigned(1))),
    platform,
    "in any order, with others",
  );
  const bare = read(
    good["1"],
    good["3"],
    good["4"],
    good["5"],
    tcb(item("2.17", derUnsigned(0)), item("2.18", zeros(16))),
  );
  assert.deepEqual(bare.tcbComponents, Array(16).fill(0), "CPUSVN holds them where they are left out");
  for (const arc of ["1", "2", "3", "4", "5"] as const) {
    const rest = Object.entries(good).filter(([name]) => name !== arc);
    refuses("certificate-malformed", new RegExp(`\\.${arc} is missing`), () => read(...rest.map(([, value]) => value)));
    refuses("certificate-malformed", /comes twice/, () => read(...Object.values(good), good[arc]));
  }
  refuses("certificate-malformed", /\.2\.16 is missing/, () =>
    read(
      ...Object.values({
        ...good,
        "2": tcb(...components.slice(0, 15), item("2.17", derUnsigned(0)), item("2.18", zeros(16))),
      }),
    ),
  );
  refuses("certificate-malformed", /\.2\.17 is missing/, () =>
    read(...Object.values({ ...good, "2": tcb(item("2.18", zeros(16))) })),
  );
  refuses("certificate-malformed", /\.2\.18 is missing/, () =>
    read(...Object.values({ ...good, "2": tcb(item("2.17", derUnsigned(0))) })),
  );
  for (const [arc, length] of [
    ["1", 15],
    ["3", 3],
    ["4", 5],
  ] as const) {
    refuses("certificate-malformed", new RegExp(`has ${length} bytes, expected`), () =>
      read(...Object.values({ ...good, [arc]: item(arc, zeros(length)) })),
    );
  }
  const withTcb = (parts: readonly Uint8Array[], pceSvn: number): ReturnType<typeof readPckExtension> =>
    read(
      ...Object.values({
        ...good,
        "2": tcb(...parts, item("2.17", derUnsigned(pceSvn)), item("2.18", zeros(16))),
      }),
    );
  assert.equal(withTcb(components, 65_535).pceSvn, 65_535);
  refuses("certificate-malformed", /PCESVN 65536, expected at most 65535/, () => withTcb(components, 65_536));
  const last = (svn: number): Uint8Array[] => [...components.slice(0, 15), item("2.16", derUnsigned(svn))];
  assert.equal(withTcb(last(255), 0).tcbComponents[15], 255);
  refuses("certificate-malformed", /TCB component 16 256, expected at most 255/, () => withTcb(last(256), 0));
  for (const type of [1, 2])
    assert.equal(read(...Object.values({ ...good, "5": item("5", derEnumerated(type)) })).sgxType, type);
  refuses("certificate-malformed", /SGX type 3, expected at most 2/, () =>
    read(...Object.values({ ...good, "5": item("5", derEnumerated(3)) })),
  );
  assert.throws(
    () => read(...Object.values({ ...good, "5": item("5", derUnsigned(0)) })),
    /SGX type: expected tag 0x0a/,
  );
  refuses("certificate-malformed", /\.18 has 17 bytes, expected 16/, () =>
    read(...Object.values({ ...good, "2": tcb(item("2.17", derUnsigned(0)), item("2.18", zeros(17))) })),
  );
  assert.throws(
    () => read(...Object.values(good), derSequence(derOid("1.2.3"), derUnsigned(1), derUnsigned(1))),
    /fields too many/,
  );
  refuses("certificate-malformed", /no SGX extension/, () => readPckExtension(parseCertificate(certificate())));
});

test("finds where a root says its revocation list is", () => {
  const point = (...names: Uint8Array[]): Uint8Array =>
    derSequence(derSequence(derContext(0, true, derContext(0, true, concatBytes(...names)))));
  const anchor = (value: Uint8Array): string | undefined => {
    const extensions = derContext(3, true, derSequence(extension("2.5.29.31", value)));
    return trustAnchorFromPem(writePem(certificate({ extensions }), "CERTIFICATE")).crlUrl;
  };
  const url = (text: string): Uint8Array => derContext(6, false, new TextEncoder().encode(text));
  assert.equal(anchor(point(url("https://example.com/root.crl"))), "https://example.com/root.crl");
  assert.equal(anchor(point(url("ldap://example.com"), url("http://example.com/b"))), "http://example.com/b");
  for (const none of [
    point(url("file:///etc/passwd")),
    point(url("https://exa mple")),
    derSequence(),
    point(derContext(2, false, parseHex("6161"))),
  ])
    assert.equal(anchor(none), undefined);
  assert.equal(anchor(point(url("xhttps://example.com"))), undefined);
  assert.equal("crlUrl" in trustAnchorFromPem(forged.rootPem), false);
  refuses("trust-anchor-invalid", /^trust anchor: expected exactly one certificate$/, () =>
    trustAnchorFromPem(forged.rootPem.repeat(2)),
  );
});

function refusesScene(scene: Scene, says: RegExp): void {
  const verification = verifyScene(scene);
  assert.deepEqual(failuresOf(verification), ["collateral-format collateral-malformed"]);
  assert.match(verification.ok ? "" : verification.reason, says);
}

const levelOf = (json: Record<string, unknown>): Record<string, unknown> =>
  (json["tcbLevels"] as Record<string, unknown>[])[0]!;
const tcbOf = (json: Record<string, unknown>): Record<string, unknown> =>
  levelOf(json)["tcb"] as Record<string, unknown>;

test("the built-in root counts by its hash at run time: one that differs by a bit is none (DS #1140)", () => {
  const { rootDer } = forge(goodScene());
  const hash = createHash("sha256").update(rootDer).digest("hex");
  assert.equal(pinnedRoot(rootDer, hash).kind, "intel");
  refuses("trust-anchor-invalid", /does not have the pinned hash/, () =>
    pinnedRoot(
      rootDer,
      hash.replace(/^./, (digit) => (digit === "0" ? "1" : "0")),
    ),
  );
});

test("reads a revocation list's number, and refuses one that is negative or is no number", () => {
  const numbered = (number: number) => forgeRevocationList({ ...goodScene().pckCrl, number });
  assert.equal(parseRevocationList(numbered(70_000)).number, 70_000n);
  const hex = toHex(numbered(5));
  const edited = (from: string, to: string): Uint8Array => {
    assert.ok(hex.includes(from));
    return parseHex(hex.replace(from, to));
  };
  refuses("certificate-malformed", /CRL without a number/, () =>
    parseRevocationList(edited("0603551d14", "0603551d15")),
  );
  refuses("certificate-malformed", /CRL number is negative/, () =>
    parseRevocationList(edited("0603551d140403020105", "0603551d140403020185")),
  );
  assert.throws(() => parseRevocationList(edited("0603551d140403020105", "0603551d140403040105")));
});
