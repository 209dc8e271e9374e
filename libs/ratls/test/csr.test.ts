import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, parseHex, reportData, toHex, utf8 } from "@dstack/bytes";
import { decodeAttestation, encodeAttestation, type Attestation } from "@dstack/attest";
import { generateP256, p256FromScalar, spkiDer } from "@dstack/keys";
import { decodeCsr, encodeCsrV1, encodeCsrV2, RatlsError, signCsr, verifyCsr, type CsrConfig } from "@dstack/ratls";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const EMPTY: Attestation = {
  platform: { kind: "tdx", quote: new Uint8Array(), eventLog: [] },
  runtimeEvents: [],
  reportData: reportData(new Uint8Array(64)),
  config: "",
};
const CONFIG: CsrConfig = {
  subject: "test.example.com",
  altNames: [],
  serverAuth: true,
  clientAuth: false,
  withEvidence: false,
  withAppInfo: false,
};

const text = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof RatlsError, String(error));
    assert.match(error.code, /^(csr-malformed|csr-refused|evidence-unsupported)$/);
    assert.equal(
      error.code === "csr-refused",
      /^(Invalid|Failed|Unsupported algorithm)/.test(error.message),
      error.message,
    );
    return error.message;
  }
  return "accepted";
};

interface VectorConfig {
  readonly org_name: string | null;
  readonly subject: string;
  readonly subject_alt_names: readonly string[];
  readonly usage_server_auth: boolean;
  readonly usage_client_auth: boolean;
  readonly ext_quote: boolean;
  readonly ext_app_info?: boolean;
  readonly not_before?: number | null;
  readonly not_after?: number | null;
}
interface Vectors {
  readonly signing_key_p256_scalar: string;
  readonly vectors: readonly {
    readonly id: string;
    readonly api_version: number;
    readonly confirm?: string;
    readonly pubkey?: string;
    readonly config?: VectorConfig;
    readonly attestation_hex?: string;
    readonly scale: string;
    readonly signature?: string;
    readonly expect?: { readonly verify?: boolean; readonly parse?: boolean; readonly error_contains?: string };
  }[];
}

vectorTest("reads, writes and judges the requests of the vectors", "kms/csr-scale-vectors.json", ({ json }) => {
  for (const vector of json<Vectors>("kms/csr-scale-vectors.json").vectors) {
    const scale = parseHex(vector.scale);
    if (vector.expect?.parse === false) {
      assert.notEqual(
        text(() => decodeCsr(vector.api_version, scale)),
        "accepted",
        vector.id,
      );
      continue;
    }
    const csr = decodeCsr(vector.api_version, scale);
    if (vector.config !== undefined) {
      const { config } = vector;
      assert.deepEqual(
        csr.config,
        {
          subject: config.subject,
          altNames: config.subject_alt_names,
          serverAuth: config.usage_server_auth,
          clientAuth: config.usage_client_auth,
          withEvidence: config.ext_quote,
          withAppInfo: config.ext_app_info ?? false,
          ...(config.org_name === null ? {} : { organization: config.org_name }),
          ...(config.not_before == null ? {} : { notBefore: config.not_before }),
          ...(config.not_after == null ? {} : { notAfter: config.not_after }),
        },
        vector.id,
      );
      const publicKeyInfo = parseHex(vector.pubkey!);
      const again =
        vector.api_version === 2
          ? encodeCsrV2({
              publicKeyInfo,
              config: csr.config,
              attestation: decodeAttestation(parseHex(vector.attestation_hex!)),
            })
          : encodeCsrV1({ publicKeyInfo, config: csr.config, quote: new Uint8Array(), eventLogJson: "" });
      assert.equal(toHex(again), vector.scale, vector.id);
    }
    if (vector.signature !== undefined) {
      const verdict = text(() => verifyCsr(csr, parseHex(vector.signature!)));
      if (vector.expect?.verify === true) assert.equal(verdict, "accepted", vector.id);
      else assert.match(verdict, new RegExp(vector.expect?.error_contains ?? "."), vector.id);
    }
  }
});

test("a signed request verifies, and every changed part is named", () => {
  const key = generateP256();
  const bytes = encodeCsrV2({ publicKeyInfo: spkiDer(key), config: CONFIG, attestation: EMPTY });
  const signature = signCsr(bytes, key);
  assert.deepEqual(verifyCsr(decodeCsr(2, bytes), signature), key.publicPoint);
  const flipped = Uint8Array.from(signature);
  flipped[10]! ^= 1;
  assert.equal(
    text(() => verifyCsr(decodeCsr(2, bytes), flipped)),
    "Invalid signature",
  );
  const renamed = parseHex(toHex(bytes).replace(toHex(utf8("test.example")), toHex(utf8("best.example"))));
  assert.equal(
    text(() => verifyCsr(decodeCsr(2, renamed), signature)),
    "Invalid signature",
  );
  const otherWord = parseHex(toHex(bytes).replace(toHex(utf8("please sign cert:")), toHex(utf8("kindly sign cert:"))));
  assert.equal(
    text(() => verifyCsr(decodeCsr(2, otherWord), signCsr(otherWord, key))),
    "Invalid confirm word",
  );
  const ed25519 = new Uint8Array(generateKeyPairSync("ed25519").publicKey.export({ format: "der", type: "spki" }));
  const p384 = new Uint8Array(
    generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey.export({ format: "der", type: "spki" }),
  );
  for (const [publicKeyInfo, expected] of [
    [ed25519, "Unsupported algorithm"],
    [p384, "Failed to parse pki"],
    [Uint8Array.of(1, 2, 3), "Failed to parse pubkey"],
  ] as const) {
    const csr = decodeCsr(2, encodeCsrV2({ publicKeyInfo, config: CONFIG, attestation: EMPTY }));
    assert.equal(
      text(() => verifyCsr(csr, signature)),
      expected,
    );
  }
});

test("refuses other versions, every cut, an appended byte, odd flags and absurd counts (#567)", () => {
  const bytes = encodeCsrV2({
    publicKeyInfo: spkiDer(p256FromScalar(new Uint8Array(32).fill(1))),
    config: CONFIG,
    attestation: EMPTY,
  });
  assert.match(
    text(() => decodeCsr(3, bytes)),
    /Unsupported API version: 3/,
  );
  for (let length = 0; length < bytes.length; length++)
    assert.notEqual(
      text(() => decodeCsr(2, bytes.subarray(0, length))),
      "accepted",
      String(length),
    );
  assert.notEqual(
    text(() => decodeCsr(2, concatBytes(bytes, Uint8Array.of(0)))),
    "accepted",
  );
  const confirm = bytes.subarray(0, 18);
  const huge = concatBytes(confirm, parseHex("000000feffffff"));
  assert.match(
    text(() => decodeCsr(2, huge)),
    /items, limit/,
  );
  const badFlag = concatBytes(confirm, parseHex("000200"));
  assert.match(
    text(() => decodeCsr(2, badFlag)),
    /expected 00 or 01/,
  );
  assert.match(
    text(() => decodeCsr(2, concatBytes(confirm, parseHex("0100")))),
    /shortest form/,
  );
});

test("refuses evidence that cannot be read or is of another platform, in both versions", () => {
  const code = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      assert.ok(error instanceof RatlsError, String(error));
      return error.code;
    }
    return "accepted";
  };
  const publicKeyInfo = Uint8Array.of(1, 2, 3);
  const v2 = encodeCsrV2({ publicKeyInfo, config: CONFIG, attestation: EMPTY });
  const head = v2.subarray(0, v2.length - encodeAttestation(EMPTY).length);
  assert.equal(
    code(() => decodeCsr(2, concatBytes(head, Uint8Array.of(0, 2)))),
    "evidence-unsupported",
  );
  assert.equal(
    code(() => decodeCsr(2, concatBytes(head, Uint8Array.of(0, 5)))),
    "csr-malformed",
  );
  for (const [quote, eventLogJson] of [
    [Uint8Array.of(1), "[]"],
    [new Uint8Array(), ""],
    [new Uint8Array(), "[]"],
  ] as const) {
    const csr = decodeCsr(1, encodeCsrV1({ publicKeyInfo, config: CONFIG, quote, eventLogJson }));
    assert.equal(
      code(() => csr.attestation()),
      "csr-malformed",
    );
  }
  const v1 = encodeCsrV1({ publicKeyInfo, config: CONFIG, quote: new Uint8Array(), eventLogJson: "x" });
  for (let length = 0; length < v1.length; length++)
    assert.equal(
      code(() => decodeCsr(1, v1.subarray(0, length))),
      "csr-malformed",
      String(length),
    );
  assert.equal(
    code(() => decodeCsr(1, concatBytes(v1, Uint8Array.of(0)))),
    "csr-malformed",
  );
  assert.equal(
    code(() => decodeCsr(1, concatBytes(v1.subarray(0, -1), Uint8Array.of(0xff))).attestation()),
    "csr-malformed",
  );
  assert.match(
    text(() => decodeCsr(2, new Uint8Array(10 * 1024 * 1024 + 1))),
    /10485761 bytes, limit 10485760/,
  );
  assert.doesNotMatch(
    text(() => decodeCsr(2, new Uint8Array(10 * 1024 * 1024))),
    /limit 10485760/,
  );
});

test("gives the quote of a long attestation ahead, of either form, and reads no more of it", () => {
  const long = { event: "e", payload: new Uint8Array(300_000) };
  const quote = Uint8Array.of(7, 200);
  for (const event of [long, { ...long, version: 2 as const }]) {
    const platform = { ...EMPTY.platform, quote };
    const attestation: Attestation = { ...EMPTY, platform, runtimeEvents: [event] };
    const bytes = encodeCsrV2({ publicKeyInfo: Uint8Array.of(1), config: CONFIG, attestation });
    const csr = decodeCsr(2, bytes);
    assert.deepEqual(csr.quoteAhead, quote);
    assert.deepEqual(csr.attestation(), attestation);
    const longer = decodeCsr(2, concatBytes(bytes, Uint8Array.of(0)));
    assert.deepEqual(longer.quoteAhead, quote);
    assert.match(
      text(() => longer.attestation()),
      /attestation cannot be read/,
    );
  }
  const few = encodeCsrV2({ publicKeyInfo: Uint8Array.of(1), config: CONFIG, attestation: EMPTY });
  assert.equal(decodeCsr(2, few).quoteAhead, undefined);
});

test("more events than a reader takes are refused by name, before they are encoded", () => {
  const runtimeEvents = Array.from({ length: 200_000 }, () => ({ event: "", payload: new Uint8Array() }));
  const attestation = { ...EMPTY, runtimeEvents };
  assert.throws(() => encodeCsrV2({ publicKeyInfo: Uint8Array.of(1), config: CONFIG, attestation }), {
    code: "attestation-unencodable",
    message: "attestation: 200000 events, limit 65536",
  });
});

test("bounds the dates where they are read (DS #1232)", () => {
  const make = (notAfter: bigint): Uint8Array => {
    const base = toHex(
      encodeCsrV2({ publicKeyInfo: Uint8Array.of(1, 2, 3), config: { ...CONFIG, notAfter: 7 }, attestation: EMPTY }),
    );
    const word = Buffer.alloc(8);
    word.writeBigUInt64LE(notAfter);
    return parseHex(base.replace("0700000000000000", word.toString("hex")));
  };
  assert.equal(decodeCsr(2, make(253_402_300_799n)).config.notAfter, 253_402_300_799);
  for (const date of [253_402_300_800n, (1n << 63n) - 1n, (1n << 64n) - 1n])
    assert.match(
      text(() => decodeCsr(2, make(date))),
      /after the year 9999/,
    );
});

test("what is encoded decodes to the same request, and encodes to the same bytes", () => {
  const config = fc.record(
    {
      organization: fc.string({ maxLength: 100 }),
      subject: fc.string(),
      altNames: fc.array(fc.string(), { maxLength: 8 }),
      serverAuth: fc.boolean(),
      clientAuth: fc.boolean(),
      withEvidence: fc.boolean(),
      withAppInfo: fc.boolean(),
      notBefore: fc.nat(),
      notAfter: fc.integer({ min: 0, max: 253_402_300_799 }),
    },
    { requiredKeys: ["subject", "altNames", "serverAuth", "clientAuth", "withEvidence", "withAppInfo"] },
  );
  fc.assert(
    fc.property(config, fc.uint8Array({ maxLength: 100 }), (wanted, publicKeyInfo) => {
      const bytes = encodeCsrV2({ publicKeyInfo, config: wanted, attestation: EMPTY });
      const csr = decodeCsr(2, bytes);
      assert.deepEqual({ ...csr.config }, { ...wanted });
      assert.deepEqual(
        encodeCsrV2({ publicKeyInfo: csr.publicKeyInfo, config: csr.config, attestation: csr.attestation() }),
        bytes,
      );
    }),
  );
});

test("requests of version 1 come back as written", () => {
  const config = fc.record({
    subject: fc.string(),
    altNames: fc.array(fc.string(), { maxLength: 8 }),
    serverAuth: fc.boolean(),
    clientAuth: fc.boolean(),
    withEvidence: fc.boolean(),
  });
  fc.assert(
    fc.property(
      config,
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 100 }),
      (wanted, publicKeyInfo, quote) => {
        const bytes = encodeCsrV1({
          publicKeyInfo,
          config: { ...wanted, withAppInfo: false },
          quote,
          eventLogJson: "[]",
        });
        const csr = decodeCsr(1, bytes);
        assert.deepEqual({ ...csr.config }, { ...wanted, withAppInfo: false });
        assert.deepEqual([csr.publicKeyInfo, csr.signed], [publicKeyInfo, bytes]);
        assert.deepEqual(decodeCsr(0, bytes).config, csr.config);
      },
    ),
  );
});

test("any bytes are refused or read, never anything else", () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 2), fc.uint8Array({ maxLength: 300 }), (version, bytes) => {
      text(() => decodeCsr(version, bytes));
    }),
  );
});
