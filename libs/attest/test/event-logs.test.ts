import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, toHex, u16le, u32le, utf8 } from "@dstack/bytes";
import {
  decodeRuntimeEvents,
  encodeEventLogJson,
  entryToJson,
  eventDigestV1,
  eventDigestV2,
  formatRuntimeLogLine,
  fullEventLog,
  newRuntimeEvent,
  parseCcel,
  parseEventLogJson,
  parseRuntimeLog,
  readBootClaims,
  replayDigests,
  replayFirmwareRegister,
  replayRtmr3,
  replayRuntimeLog,
  runtimeEntries,
  stripAttestation,
  stripFirmwarePayloads,
  type EventLogEntry,
} from "@dstack/attest";
import * as byNoble from "../src/sha2-noble.ts";
import * as bySelf from "../src/sha2-node.ts";
import { attestationOf, boot, ccelEvent, ccelHeader, event, none, refuses, register } from "./fixtures.ts";

const one = entryToJson(runtimeEntries([event("a", Uint8Array.of(1))])[0]!);

test("reads the agents' JSON whether or not it carries digests, names and payloads of runtime events", () => {
  const parse = (change: object): EventLogEntry => parseEventLogJson(JSON.stringify([{ ...one, ...change }]))[0]!;
  const { digest: _digest, ...withoutDigest } = one;
  assert.deepEqual(parse({}), runtimeEntries([event("a", Uint8Array.of(1))])[0]);
  assert.equal(parse({ digest: "" }).digest.length, 0);
  assert.equal(parseEventLogJson(JSON.stringify([withoutDigest]))[0]?.digest.length, 0);
  assert.equal(parse({ event: undefined, event_payload: undefined }).event, "");
  assert.equal(parse({ version: 2 }).version, 2);
  for (const version of [1, undefined]) assert.equal(parse({ version }).version, undefined);
  assert.deepEqual(parse({ preimage: "ab" }).preimage, Uint8Array.of(0xab));
  assert.equal(parse({ preimage: null }).preimage, undefined);
  assert.equal(parse({ unknown: 1 }).event, "a", "agents may add fields");
});

test("replays a log and checks its digests by one hash of each event", () => {
  const events = [...boot, event("note", utf8("x:y")), { ...event("second"), version: 2 as const }];
  const entries = [...runtimeEntries(events)];
  assert.deepEqual(replayRuntimeLog(entries), { events, rtmr3: replayRtmr3(events) });
  refuses("event-digest-mismatch", () => replayRuntimeLog([{ ...entries[0]!, digest: new Uint8Array(48) }]));
});

test("hashes by Node's own cryptography to what the browsers' code gives", () => {
  for (const length of [0, 1, 55, 56, 64, 111, 112, 128, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, index) => index);
    for (const name of ["sha256", "sha384", "sha512"] as const)
      assert.deepEqual(bySelf[name](bytes), byNoble[name](bytes), `${name} of ${length}`);
  }
});

test("refuses a JSON event log that says a member twice", () => {
  const text = JSON.stringify([one]).replace("{", '{"event":"b",');
  refuses("event-log-malformed", () => parseEventLogJson(text));
});

test("refuses JSON event logs with the field, what was expected and what came", () => {
  const cases: readonly (readonly [object | null | number, RegExp])[] = [
    [{ ...one, imr: 4 }, /event 0: imr is 4, expected 0 to 3/],
    [{ ...one, imr: -1 }, /imr is -1/],
    [{ ...one, imr: 1.5 }, /imr is a number that is no integer/],
    [{ ...one, imr: "3" }, /imr is "3"/],
    [{ ...one, imr: undefined }, /imr is missing/],
    [{ ...one, imr: null }, /imr is null/],
    [{ ...one, event: null }, /event is null, expected text/],
    [{ ...one, digest: null }, /digest is null, expected hex text/],
    [{ ...one, event_payload: null }, /event_payload is null/],
    [{ ...one, version: null }, /version null, expected 1 or 2/],
    [{ ...one, event_payload: "0x00" }, /event_payload: not hexadecimal/],
    [{ ...one, digest: `0x${"00".repeat(48)}` }, /digest: not hexadecimal/],
    [{ ...one, preimage: "0x00" }, /preimage: not hexadecimal/],
    [{ ...one, event_type: -1 }, /event_type is -1, expected 0 to 4294967295/],
    [{ ...one, event_type: 2 ** 32 }, /event_type is 4294967296/],
    [{ ...one, event: 5 }, /event is 5, expected text/],
    [{ ...one, digest: "abc" }, /odd number/],
    [{ ...one, digest: "zz" }, /not hexadecimal/],
    [{ ...one, digest: "aa" }, /digest of 1 bytes, expected 48/],
    [{ ...one, digest: 1 }, /digest is 1, expected hex text/],
    [{ ...one, imr: 0, digest: "" }, /digest of 0 bytes, expected 48/],
    [{ ...one, imr: 2, digest: undefined }, /digest of 0 bytes/],
    [{ ...one, version: 3 }, /version 3, expected 1 or 2/],
    [{ ...one, version: "2" }, /version "2"/],
    [{ ...one, event_payload: 5 }, /event_payload is 5/],
    [{ ...one, preimage: 5 }, /preimage is 5/],
    [null, /event 0 is not an object/],
    [5, /not an object/],
    [[], /not an object/],
  ];
  for (const [entry, expected] of cases)
    assert.match(
      refuses("event-log-malformed", () => parseEventLogJson(JSON.stringify([entry]))),
      expected,
    );
  for (const spelled of ["3.0", "3e0", "-0", "0.3e1"])
    assert.match(
      refuses("event-log-malformed", () =>
        parseEventLogJson(JSON.stringify([one]).replace(`"imr":3`, `"imr":${spelled}`)),
      ),
      /imr is a number that is no integer/,
    );
  for (const text of [
    "{}",
    "[",
    "",
    "null",
    '"[]"',
    "[1,]",
    `${"[".repeat(20_000)}`,
    `${"[".repeat(20_000)}${"]".repeat(20_000)}`,
  ])
    assert.match(
      refuses("event-log-malformed", () => parseEventLogJson(text), text.slice(0, 20)),
      /not valid JSON|expected a JSON array|event 0 is not an object/,
    );
  assert.match(
    refuses("event-log-malformed", () => parseEventLogJson("[")),
    /not valid JSON/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseEventLogJson(" ".repeat(10 * 1024 * 1024))),
    /not valid JSON/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseEventLogJson(`[${"0,".repeat(65_535)}0]`)),
    /event 0 is not an object/,
  );
  assert.ok(
    refuses("event-log-malformed", () => parseEventLogJson(JSON.stringify([{ ...one, version: "x".repeat(500) }])))
      .length < 200,
    "what came is shown in part",
  );
  assert.match(
    refuses("event-log-malformed", () => parseEventLogJson(" ".repeat(10 * 1024 * 1024 + 1))),
    /limit 10485760/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseEventLogJson(`[${"0,".repeat(65_536)}0]`)),
    /65537 events, limit 65536/,
  );
});

test("refuses a JSON log cut at every byte", () => {
  const text = encodeEventLogJson(runtimeEntries(boot.slice(0, 2)));
  for (let length = 0; length < text.length; length++)
    refuses("event-log-malformed", () => parseEventLogJson(text.slice(0, length)), String(length));
  refuses("event-log-malformed", () => parseEventLogJson(`${text}x`));
});

test("believes no digest, type or preimage that does not follow from the event, and no other register", () => {
  const [entry] = runtimeEntries([{ event: "a", payload: Uint8Array.of(1), version: 2 }]);
  assert.ok(entry);
  const { version: _version, preimage: _preimage, ...asV1 } = entry;
  assert.deepEqual(decodeRuntimeEvents([{ ...entry, digest: none }])[0]?.version, 2);
  refuses("event-digest-mismatch", () => decodeRuntimeEvents([asV1]), "the digest of V2 in a V1 event");
  refuses(
    "event-digest-mismatch",
    () => decodeRuntimeEvents([{ ...entry, digest: eventDigestV1("a", Uint8Array.of(1)) }]),
    "the digest of V1 in a V2 event",
  );
  refuses(
    "event-digest-mismatch",
    () => decodeRuntimeEvents([{ ...entry, digest: none, preimage: utf8("{}") }]),
    "a preimage without digest",
  );
  refuses(
    "event-digest-mismatch",
    () => decodeRuntimeEvents([{ ...entry, digest: none, event: "b" }]),
    "another name under the preimage",
  );
  refuses("event-type-unsupported", () => decodeRuntimeEvents([{ ...entry, digest: none, eventType: 0x0800_0002 }]));
  for (const imr of [0, 1, 2]) assert.deepEqual(decodeRuntimeEvents([{ ...entry, imr }]), []);
});

test("V2 digests escape a name as RFC 8785 does", () => {
  const sha = (name: string): string => toHex(eventDigestV2(name, none));
  assert.notEqual(sha("\u007f"), sha("\\u007f"));
  assert.notEqual(sha('"'), sha("'"));
  assert.equal(newRuntimeEvent("a", none, 2).version, 2);
  assert.equal(newRuntimeEvent("a", none).version, undefined);
  refuses("event-invalid", () => newRuntimeEvent("a", new Uint8Array(1024 * 1024 + 1)));
  const largest = new Uint8Array(1024 * 1024);
  assert.deepEqual(newRuntimeEvent("n".repeat(128), largest), { event: "n".repeat(128), payload: largest });
  assert.deepEqual(newRuntimeEvent("a", none, 2), { event: "a", payload: none, version: 2 });
});

test("replays a firmware register only where each of its events has a digest, without EV_NO_ACTION", () => {
  const entry = (eventType: number, digest: Uint8Array, imr = 1): EventLogEntry => ({
    imr,
    eventType,
    digest,
    event: "",
    eventPayload: none,
  });
  const log = [entry(3, register(9)), entry(4, register(1)), entry(4, register(8), 0), entry(4, register(2))];
  assert.deepEqual(replayFirmwareRegister(log, 1), replayDigests([register(1), register(2)]));
  assert.equal(replayFirmwareRegister(log, 2), undefined);
  assert.equal(replayFirmwareRegister([...log, entry(4, none)], 1), undefined);
  assert.equal(replayFirmwareRegister([entry(3, register(9))], 1), undefined);
});

test("strips firmware payloads but those of the three ACPI events, which get their names (DS #448)", () => {
  const acpi = (imr: number, type: number, data = "ACPI DATA"): EventLogEntry => ({
    imr,
    eventType: type,
    digest: register(1),
    event: "",
    eventPayload: utf8(data),
  });
  const log = [
    acpi(0, 10),
    acpi(0, 4),
    acpi(1, 10),
    acpi(0, 10, "ACPI DATE"),
    acpi(0, 10),
    acpi(0, 10),
    acpi(0, 10),
    ...runtimeEntries(boot.slice(1, 2)),
  ];
  const stripped = stripFirmwarePayloads(log);
  assert.deepEqual(
    stripped.map((entry) => [entry.event, entry.eventPayload.length]),
    [
      ["acpi-loader", 9],
      ["", 0],
      ["", 0],
      ["", 0],
      ["acpi-rsdp", 9],
      ["acpi-tables", 9],
      ["", 0],
      ["app-id", 20],
    ],
  );
  const attestation = attestationOf(boot);
  const kept = stripAttestation({
    ...attestation,
    platform: {
      ...attestation.platform,
      eventLog: [...log, ...runtimeEntries([{ event: "v", payload: none, version: 2 }])],
    },
  }).platform.eventLog;
  assert.deepEqual(
    kept.map(({ event: name, digest, version, preimage }) => [name, digest.length, version, preimage]),
    [
      ["acpi-loader", 48, undefined, undefined],
      ["acpi-rsdp", 48, undefined, undefined],
      ["acpi-tables", 48, undefined, undefined],
      ["app-id", 0, undefined, undefined],
      ["v", 0, 2, undefined],
    ],
  );
});

test("the whole log is the firmware's without payloads and each runtime event with its digest, once", () => {
  const firmware: EventLogEntry = { imr: 1, eventType: 4, digest: register(1), event: "", eventPayload: utf8("long") };
  const attestation = attestationOf(boot);
  const whole = fullEventLog({
    ...attestation,
    platform: {
      ...attestation.platform,
      eventLog: [firmware, ...runtimeEntries(boot).map((entry) => ({ ...entry, digest: none }))],
    },
  });
  assert.deepEqual(whole, [{ ...firmware, eventPayload: none }, ...runtimeEntries(boot)]);
});

test("stripping keeps runtime events without a name, and adds no version", () => {
  const attestation = attestationOf([event("")]);
  assert.deepEqual(stripAttestation(attestation).platform.eventLog, [
    { imr: 3, eventType: 0x0800_0001, digest: none, event: "", eventPayload: none },
  ]);
});

const base64Line = '{"event":"a","payload":"AQ=="}\n';

test("reads the guest's own log in both forms", () => {
  assert.deepEqual(parseRuntimeLog(""), []);
  assert.deepEqual(parseRuntimeLog(base64Line), [event("a", Uint8Array.of(1))]);
  assert.deepEqual(
    parseRuntimeLog('{"event":"a","payload":"","version":2}\n{"event":"b","payload":"","version":1}\n'),
    [{ event: "a", payload: none, version: 2 }, event("b")],
  );
  const older = runtimeEntries(boot)
    .map((entry) => `${JSON.stringify(entryToJson(entry))}\n`)
    .join("");
  assert.deepEqual(parseRuntimeLog(older), boot);
  assert.deepEqual(parseRuntimeLog(boot.map(formatRuntimeLogLine).join("")), boot);
});

test("refuses a log that is torn, mixed, of another register or in a sloppy form", () => {
  const older = `${JSON.stringify(one)}\n`;
  for (const text of [
    base64Line + base64Line.slice(0, 9),
    "x\n",
    "\n",
    `\n${base64Line}`,
    "[]\n",
    "null\n",
    '{"event":"a"}\n',
    '{"payload":""}\n',
    '{"event":1,"payload":""}\n',
    '{"event":"a","payload":"A"}\n',
    '{"event":"a","payload":"AQ"}\n',
    '{"event":"a","payload":"AR=="}\n',
    '{"event":"a","payload":" AQ=="}\n',
    '{"event":"a","payload":"A-=="}\n',
    '{"event":"a","payload":"AQ=="}x\n',
    '{"event":"a","payload":"","version":3}\n',
    '{"event":"a","payload":"","version":null}\n',
    '{"event":"a","payload":"","imr":3}\n',
    '{"event":"a","payload":"","more":1}\n',
    older + base64Line,
    base64Line + older,
    `${JSON.stringify({ ...one, imr: 2 })}\n`,
    `${JSON.stringify({ ...one, imr: 4 })}\n`,
  ])
    refuses("event-log-malformed", () => parseRuntimeLog(text), text);
  refuses("event-digest-mismatch", () => parseRuntimeLog(`${JSON.stringify({ ...one, event_payload: "02" })}\n`));
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog("x\n".repeat(65_537))),
    /65537 events/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog("x\n".repeat(65_536))),
    /line 1 is not JSON/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog(base64Line.trimEnd())),
    /the last line is incomplete/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog("x".repeat(16 * 1024 * 1024))),
    /the last line is incomplete/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog("5\n")),
    /line 1 is not an object/,
  );
  assert.match(
    refuses("event-log-malformed", () => parseRuntimeLog("x".repeat(16 * 1024 * 1024 + 1))),
    /limit 16777216/,
  );
});

test("reads each claim, and leaves out those that boot had not come to", () => {
  const more = [
    event("init-script-hash", register(5).subarray(0, 32)),
    event("gpu-policy-hash", register(6).subarray(0, 32)),
    event("gpu-attestation"),
    event("os-image-hash", register(7).subarray(0, 32)),
    event("key-provider", utf8("{}")),
    event("storage-fs", utf8("zfs")),
  ];
  const claims = {
    appId: boot[1]!.payload,
    composeHash: boot[2]!.payload,
    instanceId: boot[3]!.payload,
    unknownEvents: [],
  };
  assert.deepEqual(readBootClaims(boot), { ...claims, keyProviderInfo: none, initScriptHashes: [] });
  assert.deepEqual(readBootClaims([...boot, ...more]), {
    ...claims,
    keyProviderInfo: utf8("{}"),
    initScriptHashes: [more[0]!.payload],
    gpuPolicyHash: more[1]!.payload,
    osImageHash: more[3]!.payload,
    storageFs: "zfs",
  });
  const refused = (name: string, payload: Uint8Array): string =>
    refuses("event-invalid", () =>
      readBootClaims([...boot.filter((item) => item.event !== name), event(name, payload)]),
    );
  for (const name of ["app-id", "compose-hash", "instance-id", "init-script-hash", "gpu-policy-hash", "os-image-hash"])
    assert.match(refused(name, new Uint8Array(7)), new RegExp(`"${name}": .* got 7`));
  assert.match(refused("storage-fs", Uint8Array.of(0xff)), /"storage-fs": storage-fs: not valid UTF-8/);
});

test("takes at most five scripts, and names what it does not know", () => {
  const script = event("init-script-hash", new Uint8Array(32));
  assert.equal(readBootClaims([...boot, ...Array(5).fill(script)]).initScriptHashes.length, 5);
  refuses("event-invalid", () => readBootClaims([...boot, ...Array(6).fill(script)]));
  refuses("event-invalid", () => readBootClaims([...boot, event("init-script-hash", new Uint8Array(31))]));
  refuses("event-invalid", () => readBootClaims([...boot, event("storage-fs", Uint8Array.of(0xff))]));
  for (const name of ["gpu-policy-hash", "os-image-hash"])
    refuses("event-invalid", () => readBootClaims([...boot, event(name)]), name);
  for (const name of ["app-id", "compose-hash", "instance-id"])
    refuses("event-missing", () => readBootClaims(boot.filter((item) => item.event !== name)), name);
  for (const name of [
    "system-preparing",
    "app-id",
    "compose-hash",
    "instance-id",
    "boot-mr-done",
    "key-provider",
    "storage-fs",
    "gpu-policy-hash",
    "other",
  ]) {
    refuses("event-duplicate", () => readBootClaims([...boot, event(name), event(name)]), name);
  }
  assert.deepEqual(
    readBootClaims([...boot, event("mr-kms"), event("mr-kms"), event("x"), event("system-ready"), event("y")])
      .unknownEvents,
    ["x"],
  );
});

const ccelOne = ccelEvent(1, 4, register(7), utf8("hi"));
const fill = new Uint8Array(16).fill(0xff);

test("reads a CCEL with and without fill, and leaves MRTD's register out", () => {
  const expected = [{ imr: 0, eventType: 4, digest: register(7), event: "", eventPayload: utf8("hi") }];
  assert.deepEqual(parseCcel(concatBytes(ccelHeader, ccelOne)), expected);
  assert.deepEqual(parseCcel(concatBytes(ccelHeader, ccelOne, fill)), expected);
  assert.deepEqual(
    parseCcel(concatBytes(ccelHeader, ccelEvent(0, 4, register(7), none), ccelOne, fill.subarray(0, 4))),
    expected,
  );
  assert.deepEqual(parseCcel(ccelHeader), []);
  // Verifiers look for the ACPI digests of a lite machine by these names (vectors: Attest, /evidence, tcb_info).
  const acpi = ccelEvent(1, 10, register(8), utf8("ACPI DATA"));
  assert.deepEqual(
    parseCcel(concatBytes(ccelHeader, acpi, ccelOne, acpi, acpi, acpi)).map((entry) => entry.event),
    ["acpi-loader", "", "acpi-rsdp", "acpi-tables", ""],
  );
  const algorithms = concatBytes(
    ...[
      [4, 20],
      [0x0b, 32],
      [0x0c, 48],
      [0x0d, 64],
    ].flatMap(([algorithm, size]) => [u16le(algorithm!), u16le(size!)]),
  );
  const four = concatBytes(
    ccelHeader.subarray(0, 28),
    u32le(33 + 12 + 3),
    ccelHeader.subarray(32, 56),
    u32le(4),
    algorithms,
    Uint8Array.of(3, 1, 2, 3),
  );
  assert.deepEqual(parseCcel(concatBytes(four, ccelOne)), expected, "four algorithms and vendor bytes in the header");
  const area = new Uint8Array(4 * 1024 * 1024).fill(0xff);
  area.set(concatBytes(ccelHeader, ccelOne));
  assert.deepEqual(parseCcel(area), expected, "the largest area");
  assert.equal(parseCcel(concatBytes(ccelHeader, ccelEvent(4, 4, register(7), none)))[0]?.imr, 3);
});

test("refuses a CCEL cut inside an event, and anything behind its end", () => {
  const whole = concatBytes(ccelHeader, ccelOne);
  for (let length = 0; length < whole.length; length++) {
    if (length !== ccelHeader.length)
      refuses("ccel-malformed", () => parseCcel(whole.subarray(0, length)), `cut at ${length}`);
  }
  for (const tail of [
    Uint8Array.of(0),
    Uint8Array.of(0xff),
    Uint8Array.of(0xff, 0xff, 0xff),
    concatBytes(fill, Uint8Array.of(0)),
    concatBytes(fill, ccelOne),
    new Uint8Array(16),
  ]) {
    refuses("ccel-malformed", () => parseCcel(concatBytes(whole, tail)), `tail ${toHex(tail)}`);
  }
});

test("refuses a CCEL of another form, with lengths and counts at their extremes", () => {
  const header = (at: number, bytes: Uint8Array): Uint8Array =>
    concatBytes(ccelHeader.subarray(0, at), bytes, ccelHeader.subarray(at + bytes.length));
  const record = (at: number, bytes: Uint8Array): Uint8Array =>
    concatBytes(ccelHeader, ccelOne.subarray(0, at), bytes, ccelOne.subarray(at + bytes.length));
  const max = u32le(0xffff_ffff);
  const cases: readonly (readonly [RegExp, Uint8Array])[] = [
    [/first event is not EV_NO_ACTION/, header(4, u32le(4))],
    [/first event carries a digest/, header(8, Uint8Array.of(1))],
    [/event data of 4294967295 bytes, limit 1048576/, header(28, max)],
    [/vendor length: needs 1 bytes/, header(28, u32le(32))],
    [/CCEL header: 1 bytes after the end/, concatBytes(header(28, u32le(34)), Uint8Array.of(0))],
    [/not a Spec ID Event03 block/, header(32, utf8("Spec ID Event02\0"))],
    [/header: 0 algorithms, expected 1 to 4/, header(56, u32le(0))],
    [/4294967295 algorithms, expected 1 to 4/, header(56, max)],
    [/5 algorithms, expected 1 to 4/, header(56, u32le(5))],
    [/algorithm 0xc with digests of 32 bytes/, header(62, u16le(32))],
    [/algorithm 0x12 with/, header(60, u16le(0x12))],
    [/vendor data: needs 255 bytes/, header(64, Uint8Array.of(255))],
    [/register 5, expected 1 to 4/, record(0, u32le(5))],
    [/register 2147483649, expected/, record(0, u32le(0x8000_0001))],
    [/0 digests, the first of algorithm 0xc; expected one SHA-384/, record(8, u32le(0))],
    [/2 digests/, record(8, u32le(2))],
    [/4294967295 digests/, record(8, max)],
    [/1 digests, the first of algorithm 0xb/, record(12, u16le(0x0b))],
    [/event data of 4294967295 bytes, limit/, record(62, max)],
    [/event data of 1048577 bytes, limit/, record(62, u32le(1024 * 1024 + 1))],
    [/event data: needs 1048576 bytes/, record(62, u32le(1024 * 1024))],
    [/4194305 bytes, limit 4194304/, new Uint8Array(4 * 1024 * 1024 + 1)],
    [/first event is not/, new Uint8Array(64)],
    [/first event is not/, new Uint8Array(64).fill(0xff)],
    [/needs 4 bytes, 0 left/, none],
  ];
  for (const [expected, bytes] of cases)
    assert.match(
      refuses("ccel-malformed", () => parseCcel(bytes), String(expected)),
      expected,
    );
});
