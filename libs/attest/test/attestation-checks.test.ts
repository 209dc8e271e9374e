import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { appId, hash32, reportData, toHex, utf8 } from "@dstack/bytes";
import {
  attestationFromQuote,
  checkAttestation,
  encodeEventLogJson,
  encodeKeyProviderInfo,
  entryToJson,
  eventsUntilBootDone,
  mrConfigIdV1,
  mrConfigIdV2,
  mrConfigIdV3,
  readBootClaims,
  replayDigests,
  replayRtmr3,
  runtimeEntries,
  type Attestation,
  type AttestationCheckOptions,
  type Check,
  type QuoteVerification,
  type RefusalCode,
  type RuntimeEvent,
} from "@dstack/attest";
import { attestationOf, boot, event, none, refuses, register, verified } from "./fixtures.ts";

const keys = event("key-provider", encodeKeyProviderInfo({ name: "kms", id: "3059" }));
const whole: readonly RuntimeEvent[] = [...boot, keys, event("storage-fs", utf8("ext4")), event("system-ready")];
const claims = readBootClaims(whole);

function check(name: string, attestation: Attestation, options: AttestationCheckOptions = {}): Check {
  const { checks } = checkAttestation(attestation, verified, options);
  return (
    checks.find((item) => item.name === name) ??
    assert.fail(`no check ${name} among ${checks.map((item) => item.name).join()}`)
  );
}

test("accepts an attestation whose every part fits, and says each", () => {
  const data = reportData(new Uint8Array(64).fill(9));
  const result = checkAttestation(attestationOf(whole), verified, { expectedReportData: data });
  assert.ok(result.ok, result.ok ? "" : result.reason);
  assert.deepEqual(
    result.checks.map(({ name, result: outcome }) => [name, outcome]),
    [
      ["tee", "pass"],
      ["report-data", "pass"],
      ["rtmr3-replay", "pass"],
      ["event-log", "pass"],
      ["firmware-log", "not applicable"],
      ["boot-events", "pass"],
      ["app-identity", "pass"],
      ["mr-config-id", "not bound"],
      ["gpu-launch", "not applicable"],
    ],
  );
  assert.deepEqual(result.appInfo.keyProviderInfo, keys.payload);
  assert.deepEqual(
    toHex(result.appInfo.deviceId),
    createHash("sha256").update(new Uint8Array(16).fill(5)).digest("hex"),
    "from the verified PPID",
  );
});

test("a quote that did not verify stays refused whatever else holds", () => {
  const refused: QuoteVerification = {
    ok: false,
    checks: [{ name: "quote-signature", result: "fail", reason: "no" }],
    reason: "quote-signature: no",
  };
  const result = checkAttestation(attestationOf(whole), refused);
  assert.deepEqual(result.ok ? "" : result.reason, "quote-signature: no");
  const silent = checkAttestation(attestationOf(whole), { ok: false, checks: [], reason: "" });
  assert.equal(silent.ok ? "" : silent.reason, "attestation is not verified");
});

// DS #1267: a log of any length costs nothing before the signature holds.
test("looks at no event where the quote does not hold or is of something else", () => {
  const untouchable = new Proxy<readonly RuntimeEvent[]>([], { get: () => assert.fail("the events were read") });
  const attestation = { ...attestationOf(whole), runtimeEvents: untouchable };
  const events = [
    "rtmr3-replay",
    "event-log",
    "firmware-log",
    "boot-events",
    "app-identity",
    "mr-config-id",
    "gpu-launch",
  ];
  for (const [verdict, expectedReportData] of [
    [{ ok: false, checks: [], reason: "" }, undefined],
    [verified, reportData(new Uint8Array(64))],
  ] as const) {
    const { ok, checks } = checkAttestation(
      attestation,
      verdict,
      expectedReportData === undefined ? {} : { expectedReportData },
    );
    assert.equal(ok, false);
    assert.deepEqual(
      checks.filter(({ result }) => result === "not applicable").map(({ name }) => name),
      events,
    );
    assert.match(checks.at(-1)?.reason ?? "", /^not looked at/);
  }
});

// DS #1267: the older pair of quote and log is read without hashing; wrong digests are seen once the quote holds.
test("hashes nothing of a log before its quote is verified, and refuses its digests after", () => {
  const [first, ...rest] = attestationOf(whole).platform.eventLog;
  const log = encodeEventLogJson([{ ...first!, digest: new Uint8Array(48) }, ...rest]);
  const read = attestationFromQuote(attestationOf(whole).platform.quote, log, attestationOf(whole).config);
  const { checks } = checkAttestation(read, verified);
  assert.deepEqual(
    checks.filter(({ result }) => result === "fail").map(({ name, code }) => [name, code]),
    [["event-log", "event-digest-mismatch"]],
  );
  // Who hashed would see the wrong digest, and say so.
  const unverified = checkAttestation(read, { ok: false, checks: [], reason: "" });
  assert.deepEqual(
    unverified.checks.filter(({ result }) => result !== "not applicable").map(({ name, result }) => [name, result]),
    [
      ["tee", "pass"],
      ["report-data", "not bound"],
    ],
  );
});

test("fails with a stable code where a part does not fit", () => {
  const good = attestationOf(whole);
  const other = whole.map((item) =>
    item.event === "compose-hash" ? event("compose-hash", new Uint8Array(32).fill(8)) : item,
  );
  const withLog = (events: readonly RuntimeEvent[]): Attestation => ({
    ...good,
    platform: { ...good.platform, eventLog: runtimeEntries(events) },
  });
  const reordered = [whole[1]!, whole[0]!, ...whole.slice(2)];
  const zeros = reportData(new Uint8Array(64));
  const cases: readonly (readonly [string, string, RefusalCode, Attestation, AttestationCheckOptions?])[] = [
    ["another event", "rtmr3-replay", "rtmr3-mismatch", { ...good, runtimeEvents: other }],
    ["an event fewer", "rtmr3-replay", "rtmr3-mismatch", { ...good, runtimeEvents: whole.slice(0, -1) }],
    ["an event more", "rtmr3-replay", "rtmr3-mismatch", { ...good, runtimeEvents: [...whole, event("x")] }],
    ["a reordered log", "rtmr3-replay", "rtmr3-mismatch", { ...good, runtimeEvents: reordered }],
    [
      "report data beside the quoted",
      "report-data",
      "report-data-mismatch",
      { ...good, reportData: zeros },
      { expectedReportData: zeros },
    ],
    ["report data of another key", "report-data", "report-data-mismatch", good, { expectedReportData: zeros }],
    ["another log beside the events (DS #1294)", "event-log", "event-log-mismatch", withLog(other)],
    [
      "a log with another name",
      "event-log",
      "event-log-mismatch",
      withLog(whole.map((item) => (item.event === "storage-fs" ? { ...item, event: "storage-fz" } : item))),
    ],
    ["a log of version 2", "event-log", "event-log-mismatch", withLog(whole.map((item) => ({ ...item, version: 2 })))],
    ["a shorter log", "event-log", "event-log-mismatch", withLog(whole.slice(0, -1))],
    ["a reordered log beside the events", "event-log", "event-log-mismatch", withLog(reordered)],
    [
      "a log with a false digest",
      "event-log",
      "event-digest-mismatch",
      {
        ...good,
        platform: {
          ...good.platform,
          eventLog: runtimeEntries(whole).map((entry) => ({ ...entry, digest: new Uint8Array(48) })),
        },
      },
    ],
    [
      "a log with another type (safeboot #139)",
      "event-log",
      "event-type-unsupported",
      {
        ...good,
        platform: { ...good.platform, eventLog: runtimeEntries(whole).map((entry) => ({ ...entry, eventType: 4 })) },
      },
    ],
    ["an identity twice", "boot-events", "event-duplicate", attestationOf([...boot, boot[1]!])],
    ["no identity", "app-identity", "event-missing", attestationOf([whole[0]!])],
    [
      "broken GPU events",
      "gpu-launch",
      "event-missing",
      attestationOf([...boot.slice(0, 3), event("gpu-attestation"), ...boot.slice(3)]),
    ],
    [
      "a stranger before system-ready",
      "boot-events",
      "event-unknown",
      attestationOf([...boot, event("who")]),
      { strictBootEvents: true },
    ],
    ["broken vm_config", "app-identity", "vm-config-malformed", good, { vmConfig: "{" }],
  ];
  for (const [name, checkName, code, attestation, options] of cases) {
    const { result, code: got, reason } = check(checkName, attestation, options);
    assert.deepEqual([result, got], ["fail", code], `${name}: ${reason}`);
    assert.equal(checkAttestation(attestation, verified, options).ok, false, name);
  }
});

test("a log without runtime events of its own says nothing, and version 1 may be written out (DS #1316, DS #1292)", () => {
  const good = attestationOf(whole);
  assert.equal(check("event-log", { ...good, platform: { ...good.platform, eventLog: [] } }).result, "not applicable");
  assert.equal(
    check("event-log", { ...good, runtimeEvents: whole.map((item) => ({ ...item, version: 1 })) }).result,
    "pass",
  );
});

test("judges no launch binding where the events say nothing", () => {
  const { checks } = checkAttestation(attestationOf([whole[0]!]), verified);
  assert.equal(
    checks.some(({ name }) => name === "mr-config-id"),
    false,
  );
});

test("reads the image's hash from the configuration beside the attestation, else from its own", () => {
  const image = (byte: string): string => JSON.stringify({ os_image_hash: byte.repeat(32) });
  const hashOf = (vmConfig: string | undefined): string => {
    const result = checkAttestation(
      { ...attestationOf(whole), config: image("aa") },
      verified,
      vmConfig === undefined ? {} : { vmConfig },
    );
    assert.ok(result.ok);
    return toHex(result.appInfo.osImageHash);
  };
  assert.deepEqual(
    [hashOf(undefined), hashOf(""), hashOf(image("bb")), hashOf("{}")],
    ["aa".repeat(32), "aa".repeat(32), "bb".repeat(32), ""],
  );
});

test("names what it does not know before system-ready, and ignores what comes after", () => {
  assert.match(
    check("boot-events", attestationOf([...boot, event('who "is"')])).reason,
    /not known here: "who \\"is\\""/,
  );
  const two = check("boot-events", attestationOf([...boot, event("x".repeat(100)), event("y")])).reason;
  assert.ok(two.endsWith(`not known here: "${"x".repeat(40)}", "y"`), two);
  const many = check(
    "boot-events",
    attestationOf([...boot, ...Array.from({ length: 100 }, (_, index) => event(`stranger ${index}`))]),
  ).reason;
  assert.ok(many.length < 500, `${many.length} characters`);
  assert.equal(
    check("boot-events", attestationOf([...whole, event("who"), event("compose-hash")]), { strictBootEvents: true })
      .result,
    "pass",
  );
});

test("refuses a log whose names were cut elsewhere than they were measured, though it replays to the same register", () => {
  const payload = utf8("before:after");
  const measured = [...boot, event("init-script", payload), event("system-ready")];
  const told = [...boot, event("init-script:before", utf8("after")), event("system-ready")];
  assert.deepEqual(replayRtmr3(told), replayRtmr3(measured));
  assert.equal(check("boot-events", attestationOf(measured)).result, "pass");
  for (const name of ["init-script:before", "", "who\u001b", "x".repeat(129)]) {
    const refused = check("boot-events", attestationOf([...boot, event(name), event("system-ready")]));
    assert.deepEqual([refused.result, refused.code], ["fail", "event-invalid"], name);
    assert.equal(check("app-identity", attestationOf([...boot, event(name)])).result, "fail");
    assert.equal(check("boot-events", attestationOf([...whole, event(name)])).result, "pass", "an app's own names");
  }
});

test("says of firmware digests what they prove", () => {
  const digest = register(6);
  const firmware = (imr: number, replayed: Uint8Array): Check => {
    const registers = [0, 1, 2].map((index) => (index === imr ? replayed : new Uint8Array(48)));
    const good = attestationOf(whole, { firmware: registers });
    return check("firmware-log", {
      ...good,
      platform: {
        ...good.platform,
        eventLog: [{ imr, eventType: 4, digest, event: "", eventPayload: none }, ...good.platform.eventLog],
      },
    });
  };
  for (const imr of [0, 1, 2]) {
    assert.deepEqual(firmware(imr, replayDigests([digest])), {
      name: "firmware-log",
      result: "pass",
      reason: `digests replay to RTMR${imr}`,
    });
    assert.equal(firmware(imr, digest).result, "not bound");
  }
  assert.equal(check("firmware-log", attestationOf(whole)).result, "not applicable");
});

// DS #559: an unset MRCONFIGID is accepted, and said.
test("judges MRCONFIGID in each of its versions", () => {
  const document = (more: object = {}): string =>
    JSON.stringify({ version: 3, compose_hash: "02".repeat(32), key_provider: "kms", ...more });
  const cases: readonly (readonly [string, Attestation, string, AttestationCheckOptions?])[] = [
    ["unset", attestationOf(whole), "not bound"],
    ["V1", attestationOf(whole, { mrConfigId: mrConfigIdV1(claims.composeHash) }), "pass"],
    ["V1 of another app", attestationOf(whole, { mrConfigId: mrConfigIdV1(hash32(new Uint8Array(32))) }), "fail"],
    [
      "V2",
      attestationOf(whole, {
        mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", Uint8Array.of(0x30, 0x59)),
      }),
      "pass",
    ],
    [
      "V2 without id",
      attestationOf(whole, { mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", none) }),
      "pass",
    ],
    [
      "V2 of another kind of provider",
      attestationOf(whole, { mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "none", none) }),
      "fail",
    ],
    [
      "V2 of another app",
      attestationOf(whole, { mrConfigId: mrConfigIdV2(claims.composeHash, appId(new Uint8Array(20)), "kms", none) }),
      "fail",
    ],
    [
      "V2 of another key",
      attestationOf(whole, { mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", Uint8Array.of(1)) }),
      "fail",
    ],
    [
      "V2 of another key before keys",
      attestationOf(boot, { mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", Uint8Array.of(1)) }),
      "not bound",
    ],
    [
      "V2 before keys",
      attestationOf(boot, { mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", none) }),
      "pass",
    ],
    ["V4", attestationOf(whole, { mrConfigId: register(4) }), "fail"],
    ["V3 without its document", attestationOf(whole, { mrConfigId: mrConfigIdV3(document()) }), "not bound"],
    [
      "V3 with another document",
      attestationOf(whole, { mrConfigId: mrConfigIdV3(document()) }),
      "fail",
      { mrConfig: `${document()} ` },
    ],
    ...(
      [
        [{}, "pass"],
        [{ app_id: "01".repeat(20) }, "pass"],
        [{ app_id: "02".repeat(20) }, "fail"],
        [{ instance_id: "03".repeat(20) }, "pass"],
        [{ instance_id: "" }, "fail"],
        [{ compose_hash: "03".repeat(32) }, "fail"],
        [{ key_provider: "none" }, "fail"],
        [{ key_provider_id: "3059" }, "pass"],
        [{ key_provider_id: "30" }, "fail"],
        [{ init_script_hashes: ["04".repeat(32)] }, "fail"],
        [{ gpu_policy_hash: "04".repeat(32) }, "pass"],
      ] as const
    ).map(
      ([more, expected]) =>
        [
          `V3 ${JSON.stringify(more)}`,
          attestationOf(whole, { mrConfigId: mrConfigIdV3(document(more)) }),
          expected,
          { mrConfig: document(more) },
        ] as const,
    ),
  ];
  for (const [name, attestation, expected, options] of cases) {
    const { result, reason, code } = check("mr-config-id", attestation, options);
    assert.equal(result, expected, `${name}: ${reason}`);
    if (expected === "fail") assert.equal(code, "mr-config-mismatch", name);
  }
});

test("compares the launch document with scripts and GPU policy, and finds it in the VM's configuration", () => {
  const script = (byte: number): RuntimeEvent => event("init-script-hash", new Uint8Array(32).fill(byte));
  const events = [
    ...boot.slice(0, 3),
    script(5),
    script(6),
    event("gpu-policy-hash", new Uint8Array(32).fill(7)),
    ...boot.slice(3),
  ];
  const of = (more: object, options?: (document: string) => AttestationCheckOptions): string => {
    const document = JSON.stringify({ version: 3, compose_hash: "02".repeat(32), key_provider: "kms", ...more });
    return check(
      "mr-config-id",
      attestationOf(events, { mrConfigId: mrConfigIdV3(document) }),
      options?.(document) ?? { vmConfig: JSON.stringify({ mr_config: document }) },
    ).result;
  };
  assert.equal(
    of({ init_script_hashes: ["05".repeat(32), "06".repeat(32)], gpu_policy_hash: "07".repeat(32) }),
    "pass",
  );
  for (const more of [
    { init_script_hashes: ["06".repeat(32), "05".repeat(32)] },
    { init_script_hashes: ["05".repeat(32)] },
    { init_script_hashes: ["05".repeat(32), "07".repeat(32)] },
    { gpu_policy_hash: "08".repeat(32) },
  ])
    assert.equal(of(more), "fail", JSON.stringify(more));
  assert.equal(
    of({}, (document) => ({ vmConfig: document })),
    "not bound",
    "the document is not the configuration",
  );
  const document = JSON.stringify({ version: 3, compose_hash: "02".repeat(32), key_provider: "kms" });
  const own = {
    ...attestationOf(events, { mrConfigId: mrConfigIdV3(document) }),
    config: JSON.stringify({ mr_config: document }),
  };
  for (const options of [{}, { vmConfig: "" }]) assert.equal(check("mr-config-id", own, options).result, "pass");
  assert.equal(check("mr-config-id", own, { vmConfig: "{}" }).result, "not bound");
  for (const vmConfig of ["", "[]", "null", '{"mr_config":1}', '{"mr_config":""}'])
    assert.equal(
      of({}, () => ({ vmConfig })),
      "not bound",
      vmConfig,
    );
  assert.equal(
    of({}, (mrConfig) => ({ mrConfig })),
    "pass",
  );
});

test("knows each key provider by the name that guests measure", () => {
  const of = (name: string, kind: string): string => {
    const document = JSON.stringify({ version: 3, compose_hash: "02".repeat(32), key_provider: kind });
    return check(
      "mr-config-id",
      attestationOf([...boot, event("key-provider", encodeKeyProviderInfo({ name, id: "" }))], {
        mrConfigId: mrConfigIdV3(document),
      }),
      { mrConfig: document },
    ).result;
  };
  const names = ["none", "local-sgx", "kms", "tpm", "other"];
  assert.deepEqual(
    ["none", "local", "kms", "tpm"].map((kind) => names.filter((name) => of(name, kind) === "pass")),
    [["none"], ["local-sgx"], ["kms"], ["tpm"]],
  );
});

test("says of GPUs that they are not verified, and how much is bound", () => {
  const payload = utf8(
    JSON.stringify({
      version: 2,
      provider: "nvidia",
      devices: 8,
      cc_mode: "on",
      devtools: false,
      evidence_sha256: "ab".repeat(32),
    }),
  );
  const events = [
    ...boot.slice(0, 3),
    event("gpu-policy-hash", new Uint8Array(32)),
    event("gpu-attestation", payload),
    ...boot.slice(3),
  ];
  const { result, reason } = check("gpu-launch", attestationOf(events));
  assert.equal(result, "not bound");
  assert.match(
    reason,
    /^not supported: NVIDIA GPU evidence is not verified here; the guest says 8 GPUs, output of SHA-256 abab/,
  );
});

test("an SGX quote is refused, though its report data fits", () => {
  const sgx = attestationOf(whole).platform.quote.slice();
  sgx[4] = 0;
  assert.deepEqual(
    check("tee", { ...attestationOf(whole), platform: { kind: "tdx", quote: sgx, eventLog: [] } }).result,
    "fail",
  );
});

test("looks at boot-time values up to boot-mr-done alone", () => {
  assert.deepEqual(eventsUntilBootDone(whole), boot);
  assert.equal(eventsUntilBootDone(boot.slice(0, 2)).length, 2);
  assert.deepEqual(eventsUntilBootDone([boot[4]!, boot[0]!]), [boot[4]!]);
  const runtime = checkAttestation(attestationOf(whole), verified);
  const early = checkAttestation(attestationOf(whole), verified, { boottime: true });
  assert.ok(runtime.ok && early.ok);
  assert.notDeepEqual(early.appInfo.mrAggregated, runtime.appInfo.mrAggregated);
  assert.equal(early.appInfo.keyProviderInfo.length, 0);
});

test("an older peer's pair of quote and log is the same attestation", () => {
  const good = attestationOf(whole);
  const found = attestationFromQuote(
    good.platform.quote,
    JSON.stringify(good.platform.eventLog.map(entryToJson)),
    good.config,
  );
  assert.deepEqual(found, good);
  refuses("event-log-malformed", () => attestationFromQuote(good.platform.quote, ""));
});
