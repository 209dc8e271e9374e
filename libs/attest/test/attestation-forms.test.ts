import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { concatBytes, parseHex, reportData, toHex, utf8 } from "@dstack/bytes";
import {
  decodeAppInfo,
  decodeAttestation,
  encodeAppInfo,
  encodeAttestation,
  encodeAttestationV0,
  encodeAttestationV1,
  recogniseUnsupported,
  reportDataFor,
  runtimeEntries,
  unsupportedEvidence,
  type Attestation,
  type UnsupportedPlatform,
} from "@dstack/attest";
import { attestationOf, boot, event, none, refuses } from "./fixtures.ts";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

const small: Attestation = {
  platform: { kind: "tdx", quote: Uint8Array.of(1, 200, 3), eventLog: runtimeEntries([event("a", Uint8Array.of(1))]) },
  runtimeEvents: [event("a", Uint8Array.of(1))],
  reportData: reportData(new Uint8Array(64).fill(0xf0)),
  config: "{}",
};
const pod: Attestation = { ...small, reportData: reportDataFor("app-data", utf8("hi")), reportDataPayload: "hi" };
const v2: Attestation = { ...small, runtimeEvents: [{ event: "a", payload: none, version: 2 }] };

/** Replaces the first occurrence of a hex pattern, which must be there. */
function patched(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const hex = toHex(bytes);
  assert.ok(hex.includes(from), `${from} in ${hex}`);
  return parseHex(hex.replace(from, to));
}

test("refuses both forms cut at every byte and with a byte more", () => {
  for (const [name, whole] of [
    ["V0", encodeAttestationV0(small)],
    ["V1", encodeAttestationV1(small)],
    ["V1 pod", encodeAttestationV1(pod)],
    ["V1 with V2 events", encodeAttestation(v2)],
  ] as const) {
    assert.ok(decodeAttestation(whole));
    for (let length = 0; length < whole.length; length++)
      refuses("attestation-malformed", () => decodeAttestation(whole.subarray(0, length)), `${name} cut at ${length}`);
    for (const tail of [0, 1, 0x80, 0xc0, 0xff])
      refuses(
        "attestation-malformed",
        () => decodeAttestation(concatBytes(whole, Uint8Array.of(tail))),
        `${name} with ${tail}`,
      );
  }
});

// The oracle writes every value in its shortest form.
test("reads and writes msgpack as another implementation does", () => {
  for (const value of [small, pod, v2]) {
    const bytes = encodeAttestation({ ...value, reportDataPayload: value.reportDataPayload ?? "" });
    assert.deepEqual(encode(decode(bytes)), bytes);
  }
  for (const length of [0, 31, 32, 255, 256, 65_535, 65_536]) {
    const sized: Attestation = {
      ...small,
      config: "x".repeat(length),
      platform: { ...small.platform, quote: new Uint8Array(length).fill(0x81) },
      runtimeEvents: [event("e".repeat(length), new Uint8Array(length))],
    };
    const bytes = encodeAttestationV1(sized);
    assert.deepEqual(encode(decode(bytes)), bytes, String(length));
    assert.deepEqual(decodeAttestation(bytes).config, sized.config);
    assert.deepEqual(decodeAttestation(bytes).platform.quote, sized.platform.quote);
  }
});

test("takes bytes as bin where the wire has arrays of integers, and the other way round", () => {
  const document = decode(encodeAttestationV1(small)) as {
    platform: { data: { quote: unknown; event_log: { digest: Uint8Array }[] } };
    stack: { data: { report_data: unknown } };
  };
  document.platform.data.quote = small.platform.quote;
  document.stack.data.report_data = small.reportData;
  assert.deepEqual(decodeAttestation(encode(document)), small);
  document.platform.data.event_log[0]!.digest = [
    ...document.platform.data.event_log[0]!.digest,
  ] as unknown as Uint8Array;
  assert.deepEqual(decodeAttestation(encode(document)), small);
});

test("refuses every msgpack form but the shortest, and maps with other, repeated or reordered keys", () => {
  const bytes = encodeAttestationV1(small);
  const whole = toHex(bytes);
  const text = (word: string): string => toHex(encode(word));
  const cases: readonly (readonly [string, string, string])[] = [
    ["an 8-bit number below 128", `${text("version")}01`, `${text("version")}cc01`],
    ["a 16-bit number", `${text("version")}01`, `${text("version")}cd0001`],
    ["a 32-bit number", `${text("version")}01`, `${text("version")}ce00000001`],
    ["a signed number", `${text("version")}01`, `${text("version")}d001`],
    ["a float", `${text("version")}01`, `${text("version")}cb3ff0000000000000`],
    ["text with an 8-bit length", text("version"), `d907${text("version").slice(2)}`],
    ["text with a 16-bit length", text("version"), `da0007${text("version").slice(2)}`],
    ["text that is not UTF-8", text("{}"), "a2ff7d"],
    ["a map with a 16-bit count", whole.slice(0, 2), "de0003"],
    ["a map with a 32-bit count", whole.slice(0, 2), "df00000003"],
    ["an array with a 16-bit count", "9301ccc803", "dc000301ccc803"],
    ["an array item in a long form", "9301ccc803", "93cc01ccc803"],
    ["an array item above 255", "9301ccc803", "9301cd010003"],
    ["bytes with a 16-bit length", `${text("payload")}c40101`, `${text("payload")}c5000101`],
    ["bytes with a 32-bit length", `${text("payload")}c40101`, `${text("payload")}c60000000101`],
    ["another version", `${text("version")}01`, `${text("version")}02`],
    ["an unknown key", text("config"), text("confih")],
    ["an empty key", text("config"), "a0"],
    ["a key twice", text("platform"), text("version")],
    ["an unknown stack", text("dstack"), text("dstach")],
    ["an unknown platform", text("tdx"), text("tdy")],
    ["RTMR4", `${text("imr")}03`, `${text("imr")}04`],
    ["nil for bytes", `${text("payload")}c40101`, `${text("payload")}c0`],
  ];
  for (const [name, from, to] of cases)
    refuses("attestation-malformed", () => decodeAttestation(patched(bytes, from, to)), name);
  const reordered = {
    version: 1,
    stack: (decode(bytes) as { stack: object }).stack,
    platform: (decode(bytes) as { platform: object }).platform,
  };
  refuses("attestation-malformed", () => decodeAttestation(encode(reordered)), "keys in another order");
  const event2 = patched(encodeAttestation(v2), `${text("version")}02`, `${text("version")}01`);
  refuses("attestation-malformed", () => decodeAttestation(event2), "an event that says it is of version 1");
});

/** Objects of msgpack documents, as the oracle reads them. */
type Document = Record<string, unknown>;

test("refuses a document of another shape, and says what was expected and what came", () => {
  const document = (): {
    readonly root: Document;
    readonly platform: Document;
    readonly evidence: Document;
    readonly entry: Document;
    readonly stack: Document;
    readonly data: Document;
    readonly runtime: Document;
  } => {
    const root = decode(
      encodeAttestation({ ...v2, platform: { ...v2.platform, eventLog: runtimeEntries(v2.runtimeEvents) } }),
    ) as Document;
    const [platform, stack] = [root["platform"] as Document, root["stack"] as Document];
    const [evidence, data] = [platform["data"] as Document, stack["data"] as Document];
    return {
      root,
      platform,
      evidence,
      stack,
      data,
      entry: (evidence["event_log"] as Document[])[0]!,
      runtime: (data["runtime_events"] as Document[])[0]!,
    };
  };
  const verdict = (change: (parts: ReturnType<typeof document>) => void): string => {
    const parts = document();
    change(parts);
    return refuses("attestation-malformed", () => decodeAttestation(encode(parts.root)));
  };
  const cases: readonly (readonly [RegExp, (parts: ReturnType<typeof document>) => void])[] = [
    [
      /attestation: 4 keys, expected 3/,
      ({ root }) => {
        root["more"] = 1;
      },
    ],
    [
      /version 2, expected 1/,
      ({ root }) => {
        root["version"] = 2;
      },
    ],
    [
      /platform: 3 keys, expected 2/,
      ({ platform }) => {
        platform["more"] = 1;
      },
    ],
    [
      /platform "tdy", expected tdx/,
      ({ platform }) => {
        platform["kind"] = "tdy";
      },
    ],
    [
      /platform data: 1 keys, expected 2/,
      ({ evidence }) => {
        delete evidence["quote"];
      },
    ],
    [
      /quote: .*expected bytes/,
      ({ evidence }) => {
        evidence["quote"] = "text";
      },
    ],
    [
      /event_log: .*expected an array/,
      ({ evidence }) => {
        evidence["event_log"] = {};
      },
    ],
    [
      /stack: 1 keys, expected 2/,
      ({ stack }) => {
        delete stack["data"];
      },
    ],
    [
      /stack "other", expected dstack or dstack-pod/,
      ({ stack }) => {
        stack["kind"] = "other";
      },
    ],
    [
      /stack data: 4 keys, expected 3/,
      ({ data }) => {
        data["report_data_payload"] = "x";
      },
    ],
    [
      /stack data: 3 keys, expected 4/,
      ({ stack }) => {
        stack["kind"] = "dstack-pod";
      },
    ],
    [
      /report_data of 63 bytes, expected 64/,
      ({ data }) => {
        data["report_data"] = new Uint8Array(63);
      },
    ],
    [
      /config: .*expected text/,
      ({ data }) => {
        data["config"] = 1;
      },
    ],
    [
      /event: 4 keys, expected 5 to 7/,
      ({ evidence }) => {
        evidence["event_log"] = [{ imr: 3, event_type: 1, digest: none, event: "" }];
      },
    ],
    [
      /event: 8 keys, expected 5 to 7/,
      ({ entry }) => {
        entry["more"] = 1;
      },
    ],
    [
      /imr: 4, expected 0 to 3/,
      ({ entry }) => {
        entry["imr"] = 4;
      },
    ],
    [
      /digest of 47 bytes, expected 48/,
      ({ entry }) => {
        entry["digest"] = new Uint8Array(47);
      },
    ],
    [
      /digest of 1 bytes, expected 48/,
      ({ entry }) => {
        entry["digest"] = new Uint8Array(1);
      },
    ],
    [
      /digest of 0 bytes, expected 48/,
      ({ entry }) => {
        entry["imr"] = 2;
        entry["digest"] = none;
      },
    ],
    [
      /event version 3, expected 2 or none/,
      ({ entry }) => {
        entry["version"] = 3;
      },
    ],
    [
      /key "preimagf", expected preimage/,
      ({ entry }) => {
        delete entry["preimage"];
        entry["preimagf"] = none;
      },
    ],
    [
      /runtime event: 1 keys, expected 2 or 3/,
      ({ data }) => {
        data["runtime_events"] = [{ event: "a" }];
      },
    ],
    [
      /runtime event: 4 keys, expected 2 or 3/,
      ({ runtime }) => {
        runtime["more"] = 1;
      },
    ],
    [
      /event version 1, expected 2 or none/,
      ({ runtime }) => {
        runtime["version"] = 1;
      },
    ],
    [
      /key "x{40}", expected payload/,
      ({ data }) => {
        data["runtime_events"] = [{ event: "a", ["x".repeat(60)]: none }];
      },
    ],
  ];
  for (const [expected, change] of cases) assert.match(verdict(change), expected);
  const parts = document();
  delete parts.entry["preimage"];
  assert.deepEqual(
    decodeAttestation(encode(parts.root)).platform.eventLog[0]?.version,
    2,
    "an event of version 2 may come without its preimage",
  );
  parts.entry["digest"] = none;
  assert.deepEqual(decodeAttestation(encode(parts.root)).platform.eventLog[0]?.digest, none);
});

test("refuses digests of another length in version 0, and none but for runtime events", () => {
  const of = (imr: number, length: number): Uint8Array =>
    encodeAttestationV0({
      ...small,
      platform: {
        ...small.platform,
        eventLog: [{ imr, eventType: 1, digest: new Uint8Array(length), event: "", eventPayload: none }],
      },
    });
  for (const [imr, length] of [
    [3, 47],
    [3, 1],
    [3, 49],
    [2, 0],
    [0, 0],
    [1, 47],
  ] as const) {
    assert.match(
      refuses("attestation-malformed", () => decodeAttestation(of(imr, length))),
      new RegExp(`digest of ${length} bytes, expected 48`),
    );
  }
  for (const [imr, length] of [
    [3, 0],
    [3, 48],
    [0, 48],
  ] as const)
    assert.equal(decodeAttestation(of(imr, length)).platform.eventLog[0]?.digest.length, length);
  assert.match(
    refuses("attestation-malformed", () => decodeAttestation(of(4, 48))),
    /imr 4, expected 0 to 3/,
  );
});

test("tells the two forms apart by the first byte alone", () => {
  for (const first of [0x01, 0x7f, 0x90, 0xdd, 0xe0, 0xff])
    assert.match(
      refuses("attestation-malformed", () => decodeAttestation(Uint8Array.of(first, 0, 0))),
      new RegExp(`Unknown attestation wire format: first byte 0x${first.toString(16).padStart(2, "0")}`),
    );
  for (const first of [0x80, 0x8f, 0xde, 0xdf])
    assert.doesNotMatch(
      refuses("attestation-malformed", () => decodeAttestation(Uint8Array.of(first, 0, 0))),
      /Unknown attestation wire format/,
    );
  assert.match(
    refuses("attestation-malformed", () => decodeAttestation(none)),
    /^Empty attestation bytes$/,
  );
});

// DS #567: counts and lengths at their extremes cost nothing.
test("holds every count and length against the bytes there", () => {
  const extremes = ["dd00400000", "ddffffffff", "dcffff", "dfffffffff", "c6ffffffff", "dbffffffff"];
  const bytes = encodeAttestationV1(small);
  for (const extreme of extremes) {
    for (const at of ["9301ccc803", `${toHex(encode("payload"))}c40101`])
      refuses(
        "attestation-malformed",
        () => decodeAttestation(patched(bytes, at, `${at.startsWith("93") ? "" : toHex(encode("payload"))}${extreme}`)),
        extreme,
      );
  }
  const v0 = encodeAttestationV0(small);
  for (const length of ["ff", "feffffff", "03ffffffff", "13ffffffffffffffff", "fdff"])
    refuses("attestation-malformed", () => decodeAttestation(patched(v0, "00000c01", `0000${length}01`)), length);
  const many: Attestation = { ...small, runtimeEvents: Array.from({ length: 65_537 }, () => event("")) };
  const most = { ...many, runtimeEvents: many.runtimeEvents.slice(1) };
  for (const form of [encodeAttestationV0(most), encodeAttestationV1(most)])
    assert.equal(decodeAttestation(form).runtimeEvents.length, 65_536);
  for (const form of [encodeAttestationV0(many), encodeAttestationV1(many)])
    assert.match(
      refuses("attestation-malformed", () => decodeAttestation(form)),
      /65537 items, limit 65536/,
    );
  const nested = concatBytes(Uint8Array.of(0x83), new Uint8Array(20_000).fill(0x91));
  refuses("attestation-malformed", () => decodeAttestation(nested), "20 KB of nested arrays");
});

test("refuses every SCALE form but the one", () => {
  const bytes = encodeAttestationV0(small);
  const cases: readonly (readonly [string, string, string])[] = [
    ["a length in two bytes", "00000c01", "00000d0001"],
    ["a length in four bytes", "00000c01", "00000e00000001"],
    ["a big length", "00000c01", "0000030c00000001"],
    ["a platform that nobody has", "00000c", "00050c"],
    ["text that is not UTF-8", "087b7d", "08ff7d"],
  ];
  for (const [name, from, to] of cases)
    refuses("attestation-malformed", () => decodeAttestation(patched(bytes, from, to)), name);
});

test("writes version 1 only for what version 0 cannot carry, and says what neither can", () => {
  assert.equal(encodeAttestation(small)[0], 0);
  for (const value of [
    pod,
    v2,
    { ...small, platform: { ...small.platform, eventLog: runtimeEntries(v2.runtimeEvents) } },
  ]) {
    assert.equal(encodeAttestation(value)[0], 0x83);
    refuses("attestation-unencodable", () => encodeAttestationV0(value));
  }
  const [entry] = small.platform.eventLog;
  refuses("attestation-unencodable", () =>
    encodeAttestationV1({ ...small, platform: { ...small.platform, eventLog: [{ ...entry!, preimage: none }] } }),
  );
});

test("refuses an attestation above 10 MiB before it looks inside", () => {
  refuses("attestation-too-large", () => decodeAttestation(new Uint8Array(10 * 1024 * 1024 + 1)));
  refuses("attestation-malformed", () => decodeAttestation(new Uint8Array(10 * 1024 * 1024)));
});

// Never half verified: the platform alone decides, whatever follows it.
test("refuses other platforms by name, in both forms and bare", () => {
  const named = (code: UnsupportedPlatform): RegExp =>
    new RegExp(`^not supported: .*\\(${code}\\); expected Intel TDX`);
  const platforms = ["dstack-gcp-tdx", "dstack-nitro-enclave", "dstack-amd-sev-snp", "dstack-aws-nitro-tpm"] as const;
  for (const [index, code] of platforms.entries()) {
    assert.match(
      refuses("platform-unsupported", () => decodeAttestation(Uint8Array.of(0, index + 1))),
      named(code),
    );
    const kind = ["gcp-tdx", "nitro-enclave", "sev-snp", "aws-nitro-tpm"][index]!;
    const bytes = encode({ version: 1, platform: { kind, data: {} }, stack: {} });
    assert.match(
      refuses("platform-unsupported", () => decodeAttestation(bytes)),
      named(code),
    );
  }
  const report = new Uint8Array(1184);
  report[0] = 2;
  report[0x34] = 1;
  const cose = parseHex("8444a1013822");
  const bare: readonly (readonly [UnsupportedPlatform | undefined, Uint8Array])[] = [
    ["dstack-amd-sev-snp", report],
    [undefined, report.subarray(1)],
    [undefined, new Uint8Array(1184)],
    [undefined, report.map((byte, at) => (at === 0 ? 6 : byte))],
    [undefined, report.map((byte, at) => (at === 0 ? 1 : byte))],
    [undefined, report.map((byte, at) => (at === 0x34 ? 2 : byte))],
    ["dstack-nitro-enclave", concatBytes(cose, new Uint8Array(40))],
    ["dstack-nitro-enclave", concatBytes(Uint8Array.of(0xd2), cose)],
    ["dstack-aws-nitro-tpm", concatBytes(cose, utf8("....nitrotpm_pcrs"))],
    [undefined, cose.subarray(0, 5)],
    ["tpm", parseHex("ff5443478018aa")],
    ["tpm", parseHex("0007ff5443478018aa")],
    [undefined, parseHex("ff5443478017aa")],
    [undefined, parseHex("ffff")],
    [undefined, parseHex("00ff5443478018")],
    ["dstack-amd-sev-snp", report.map((byte, at) => (at === 0 ? 5 : byte))],
    ["dstack-nitro-enclave", concatBytes(cose, new Uint8Array(64 * 1024), utf8("nitrotpm_pcrs"))],
    ["dstack-aws-nitro-tpm", concatBytes(cose, new Uint8Array(60 * 1024), utf8("nitrotpm_pcrs"))],
    ["nvidia-gpu", utf8('{"detached_eat":[]}')],
    ["nvidia-gpu", utf8('{"claims":[{"x-nvidia-device-type":"gpu"}]}')],
    [undefined, utf8('["detached_eat"]')],
    [undefined, utf8('{"a":1}')],
    [undefined, none],
  ];
  for (const [index, [expected, bytes]] of bare.entries())
    assert.equal(recogniseUnsupported(bytes), expected, `case ${index}`);
  for (const hex of ["d28444a1013822", "8444a1013822"])
    assert.match(
      refuses("platform-unsupported", () => decodeAttestation(parseHex(hex))),
      named("dstack-nitro-enclave"),
    );
  assert.match(
    refuses("platform-unsupported", () => decodeAttestation(report)),
    named("dstack-amd-sev-snp"),
  );
  for (const [platform, label] of [
    ["dstack-gcp-tdx", "Intel TDX with a TPM on Google Cloud"],
    ["dstack-nitro-enclave", "AWS Nitro Enclave"],
    ["dstack-amd-sev-snp", "AMD SEV-SNP"],
    ["dstack-aws-nitro-tpm", "AWS NitroTPM"],
    ["nvidia-gpu", "NVIDIA GPU"],
    ["tpm", "TPM 2.0 quote"],
  ] as const)
    assert.ok(unsupportedEvidence(platform).message.startsWith(`not supported: ${label} evidence`), platform);
});

recordedTest("recognises the recorded evidence of other platforms", ({ bytes, json }) => {
  const snp = json<{ attestation: string }>("attestation/snp/sev-snp-attestation.json").attestation;
  assert.match(
    refuses("platform-unsupported", () => decodeAttestation(parseHex(snp))),
    /AMD SEV-SNP/,
  );
  const nitro = bytes("attestation/nitro/nitro_attestation.bin");
  assert.match(
    refuses("platform-unsupported", () => decodeAttestation(nitro)),
    /AWS Nitro Enclave/,
  );
  assert.equal(recogniseUnsupported(nitro.subarray(4)), "dstack-nitro-enclave");
  assert.equal(recogniseUnsupported(bytes("attestation/gpu/gpu_attestation_h100.json")), "nvidia-gpu");
  assert.equal(recogniseUnsupported(bytes("attestation/quotes/tdx-v4-uptodate.bin")), undefined);
});

const info = {
  appId: new Uint8Array(20),
  composeHash: new Uint8Array(32),
  instanceId: none,
  deviceId: new Uint8Array(32),
  mrSystem: new Uint8Array(32),
  mrAggregated: new Uint8Array(32),
  osImageHash: none,
  keyProviderInfo: utf8("{}"),
};
const NAMES = [
  "app_id",
  "compose_hash",
  "instance_id",
  "device_id",
  "mr_system",
  "mr_aggregated",
  "os_image_hash",
  "key_provider_info",
] as const;
const fields = (): Uint8Array[] => decode(encodeAppInfo(info)) as Uint8Array[];
const named = (): Record<string, unknown> => Object.fromEntries(NAMES.map((name, index) => [name, fields()[index]]));

test("reads app info by position and by name, with scripts, without, and with fields of newer builds", () => {
  const scripts = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  assert.deepEqual(decodeAppInfo(encodeAppInfo(info)), info);
  assert.deepEqual(decodeAppInfo(encode([...fields(), null])), info);
  assert.deepEqual(decodeAppInfo(encode([...fields(), scripts])), { ...info, initScriptHashes: scripts });
  assert.deepEqual(decodeAppInfo(encode(named())), info);
  assert.deepEqual(decodeAppInfo(encode({ ...named(), init_script_hashes: scripts })), {
    ...info,
    initScriptHashes: scripts,
  });
  assert.equal(
    decodeAppInfo(encode([...fields(), Array.from({ length: 5 }, () => new Uint8Array(32))])).initScriptHashes?.length,
    5,
  );
  const limit = 256 * 1024;
  const filler = limit - encode({ newer: new Uint8Array(limit), ...named() }).length;
  assert.deepEqual(
    decodeAppInfo(encode({ newer: new Uint8Array(limit + filler), ...named() })),
    info,
    "as large as it may be",
  );
  assert.deepEqual(
    decodeAppInfo(encode({ newer: [null, 1, 300, "text", { deep: [Uint8Array.of(1)] }], ...named() })),
    info,
  );
});

test("refuses app info with a field missing, twice, of another kind or length, and cut or trailed anywhere", () => {
  const good = encode(named());
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ["seven values", encode(fields().slice(1))],
    ["ten values", encode([...fields(), null, null])],
    ["text for bytes", encode([...fields().slice(0, 7), "x"])],
    ["mr_system of 31 bytes", encode(fields().map((value, index) => (index === 4 ? value.subarray(1) : value)))],
    ["mr_aggregated of 33 bytes", encode(fields().map((value, index) => (index === 5 ? new Uint8Array(33) : value)))],
    ["six scripts", encode([...fields(), Array.from({ length: 6 }, () => new Uint8Array(32))])],
    ["a script of 31 bytes", encode([...fields(), [new Uint8Array(31)]])],
    [
      "a name twice",
      concatBytes(Uint8Array.of(good[0]! + 1), good.subarray(1), encode("app_id"), encode(new Uint8Array(20))),
    ],
    [
      "a newer name twice",
      concatBytes(Uint8Array.of(good[0]! + 2), good.subarray(1), encode("new"), encode(1), encode("new"), encode(1)),
    ],
    ["a number for a name", concatBytes(Uint8Array.of(good[0]! + 1), good.subarray(1), encode(1), encode(1))],
    ["a float in a newer field", encode({ ...named(), newer: 1.5 })],
    ["a deep newer field", encode({ ...named(), newer: [[[[[[[[[[1]]]]]]]]]] })],
    ["nothing", none],
    ["text", encode("x")],
    ["above the limit", encode({ newer: new Uint8Array(256 * 1024), ...named() })],
    ...NAMES.map(
      (name) =>
        [
          `${name} missing`,
          encode(Object.fromEntries(Object.entries(named()).filter(([key]) => key !== name))),
        ] as const,
    ),
  ];
  for (const [name, bytes] of cases) refuses("app-info-malformed", () => decodeAppInfo(bytes), name);
  for (const whole of [good, encodeAppInfo(info), encode([...fields(), [new Uint8Array(32)]])]) {
    for (let length = 0; length < whole.length; length++)
      refuses("app-info-malformed", () => decodeAppInfo(whole.subarray(0, length)), `cut at ${length}`);
    refuses("app-info-malformed", () => decodeAppInfo(concatBytes(whole, Uint8Array.of(0xc0))));
  }
});

test("comes back as written with a whole boot in it", () => {
  const whole = attestationOf(boot);
  assert.deepEqual(decodeAttestation(encodeAttestationV0(whole)), whole);
  assert.deepEqual(decodeAttestation(encodeAttestationV1(whole)), whole);
});
