import { deepStrictEqual } from "node:assert";
import { Encoder, decode } from "@msgpack/msgpack";
import { BytesError, equalBytes, utf8, utf8Decode } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import {
  AttestError,
  collateralFromJson,
  concludeCollateral,
  decodeAppInfo,
  decodeAttestation,
  decodeRuntimeEvents,
  encodeAppInfo,
  encodeAttestationV0,
  encodeAttestationV1,
  encodeEventLogJson,
  parseCcel,
  parseEventLogJson,
  parseQuote,
  planCollateral,
  planQuote,
  readBootClaims,
  replayFirmwareRegister,
  replayRtmr3,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { Attestation, Check, CheckedCollateral, QuotePlan } from "@dstack/attest";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateDer } from "../mutate-der.ts";
import { mutateJsonText } from "../mutate-json.ts";
import { mutateValue } from "../mutate-value.ts";
import type { Value } from "../mutate-value.ts";
import type { Random } from "../random.ts";
import type { Target } from "../target.ts";
import { recorded } from "../vectors.ts";
import { bootEvents, good, goodQuotes, smallAttestation } from "./seed-evidence.ts";

const findings = "libs/attest/test/vectors/fuzz";
const isAttestError = (error: unknown): boolean => error instanceof AttestError;
const anchor = trustAnchorFromPem(good.rootPem);

/** Collateral as judged where every signature holds. */
function checked(json: unknown): CheckedCollateral {
  const plan = planCollateral(collateralFromJson(json), anchor);
  return concludeCollateral(
    plan,
    plan.signatures.map(() => true),
  );
}

const collateral = checked(good.collateral);
const goodQuote = parseQuote(good.quote);

const failuresOf = (checks: readonly Pick<Check, "name" | "result">[]): string =>
  checks
    .filter(({ result }) => result === "fail")
    .map(({ name }) => name)
    .join(" ") || "all checks pass";

/** Which checks a plan failed at: the outcome of a judged quote. */
const planWord = (plan: QuotePlan): string =>
  failuresOf(plan.judgements.map(({ name, outcome }) => ({ name, result: outcome.result })));

export const quote: Target = {
  name: "quote",
  about: "DCAP quotes of versions 3, 4, 5: parsed, and judged where they parse",
  findings,
  seeds: () => [
    ...goodQuotes(),
    ...recorded("quotes/tdx-v4-uptodate.bin", "quotes/sgx-v3-config-sw.bin", "quotes/tdx-v5-td15-service-td.bin"),
  ],
  mutate: (random, seed, other) => (random.oneIn(3) ? editQuoteField(random, seed) : mutateBytes(random, seed, other)),
  run: (input) => {
    return planWord(planQuote(parseQuote(input), collateral, { now: good.now, trustAnchor: anchor }));
  },
  isRefusal: isAttestError,
};

/** Offsets at which the forms of a quote keep types and lengths. */
const QUOTE_FIELDS = [
  0, 2, 4, 6, 48, 50, 54, 432, 436, 560, 564, 632, 636, 700, 702, 704, 764, 766, 770, 1218, 1220, 1250, 1252, 1254,
];

function editQuoteField(random: Random, seed: Uint8Array): Uint8Array {
  const out = Uint8Array.from(seed);
  const at = random.pick(QUOTE_FIELDS) + random.pick([0, 0, 0, 1, 2, 64, 66]);
  for (let i = 0; i < random.pick([1, 2, 4]); i++)
    out[at + i] = random.pick([0, 1, 2, 3, 4, 5, 6, 0x48, 0x7f, 0x80, 0x81, 0xff]);
  return out;
}

const COLLATERAL_DOCUMENTS = ["tcb_info", "qe_identity"] as const;
const COLLATERAL_CHAINS = ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"] as const;
const COLLATERAL_LISTS = ["root_ca_crl", "pck_crl"] as const;

export const collateralTarget: Target = {
  name: "collateral",
  about: "collateral JSON: TCB info, QE identity, revocation lists, chains, and a quote judged by them",
  findings,
  seeds: () => [utf8(JSON.stringify(good.collateral))],
  mutate: (random, seed, other) =>
    random.oneIn(10) ? mutateBytes(random, seed, other) : mutateJsonText(random, seed, editCollateral),
  run: (input) => {
    let json: unknown;
    try {
      json = JSON.parse(utf8Decode(input, "collateral"));
    } catch {
      return "not JSON";
    }
    const material = checked(json);
    // Documents are read and judged each time; a quote meets them every fourth time, for it costs as much again.
    if (input.length % 4 !== 0) return failuresOf(material.checksAt(good.now));
    return planWord(planQuote(goodQuote, material, { now: good.now, trustAnchor: anchor }));
  },
  isRefusal: isAttestError,
};

function editCollateral(random: Random, value: Value): Value {
  if (
    typeof value !== "object" ||
    value === null ||
    Array.isArray(value) ||
    value instanceof Uint8Array ||
    random.oneIn(8)
  )
    return mutateValue(random, value);
  const members = { ...(value as { readonly [key: string]: Value }) };
  const change = (name: string, edit: (text: string) => string): void => {
    const text = members[name];
    if (typeof text === "string") members[name] = edit(text);
  };
  switch (random.below(4)) {
    case 0:
    case 1:
      change(random.pick(COLLATERAL_DOCUMENTS), (text) => utf8Lossy(mutateJsonText(random, utf8(text), mutateValue)));
      break;
    case 2:
      change(random.pick(COLLATERAL_LISTS), (hex) =>
        Buffer.from(mutateDer(random, Buffer.from(hex, "hex"))).toString("hex"),
      );
      break;
    default:
      change(random.pick(COLLATERAL_CHAINS), (pem) => editPem(random, pem));
  }
  return members;
}

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----\n?/g;

function editPem(random: Random, pem: string): string {
  const ders = [...pem.matchAll(PEM_BLOCK)].map((match) => Buffer.from(match[1] ?? "", "base64"));
  if (ders.length === 0 || random.oneIn(8)) return utf8Lossy(mutateBytes(random, utf8(pem), utf8(pem)));
  const at = random.below(ders.length);
  const edited: Uint8Array[] = random.oneIn(6)
    ? ders.toReversed()
    : ders.with(at, Buffer.from(mutateDer(random, ders[at]!)));
  return edited
    .map(
      (der) =>
        `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`,
    )
    .join("");
}

const utf8Lossy = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

export const eventLog: Target = {
  name: "event-log",
  about: "event log JSON: parsed, runtime events checked, registers replayed, claims read",
  findings,
  seeds: () => [utf8(encodeEventLogJson(smallAttestation().platform.eventLog)), utf8("[]")],
  mutate: (random, seed, other) =>
    random.oneIn(4) ? mutateBytes(random, seed, other) : mutateJsonText(random, seed, mutateValue),
  run: (input) => {
    const entries = parseEventLogJson(utf8Lossy(input));
    for (const imr of [0, 1, 2] as const) replayFirmwareRegister(entries, imr);
    const events = decodeRuntimeEvents(entries);
    replayRtmr3(events);
    const again = encodeEventLogJson(entries);
    if (encodeEventLogJson(parseEventLogJson(again)) !== again) throw new Error("read, but written back otherwise");
    readBootClaims(events);
    return `${entries.length} entries`;
  },
  isRefusal: isAttestError,
};

export const ccel: Target = {
  name: "ccel",
  about: "binary boot event log (TCG2) of the firmware",
  findings,
  seeds: () => [madeCcel(), ...recorded("ccel/ccel.bin").map((bytes) => bytes.subarray(0, 2048))],
  mutate: mutateBytes,
  run: (input) => `${parseCcel(input).length} events`,
  isRefusal: isAttestError,
};

function madeCcel(): Uint8Array {
  const u32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
  const event = (imr: number, size: number): number[] => [
    ...u32(imr),
    ...u32(4),
    ...u32(1),
    0x0c,
    0,
    ...Array<number>(48).fill(imr),
    ...u32(size),
    ...Array<number>(size).fill(0x61),
  ];
  const header = [
    ...u32(1),
    ...u32(3),
    ...Array<number>(20).fill(0),
    ...u32(33),
    ...utf8("Spec ID Event03\0"),
    ...Array<number>(8).fill(0),
    ...u32(1),
    0x0c,
    0,
    48,
    0,
    0,
  ];
  return Uint8Array.from([...header, ...event(1, 3), ...event(2, 0), ...event(1, 20), ...Array<number>(16).fill(0xff)]);
}

/** Version 0 is canonical: what is read is written back byte for byte. */
export const attestationV0: Target = {
  name: "attestation-v0",
  about: "versioned attestation, SCALE",
  findings,
  seeds: () => [
    encodeAttestationV0(smallAttestation()),
    encodeAttestationV0({ ...smallAttestation(), runtimeEvents: [], config: "" }),
  ],
  mutate: (random, seed, other) => (random.oneIn(3) ? editCompact(random, seed) : mutateBytes(random, seed, other)),
  run: (input) => {
    const attestation = decodeAttestation(input);
    if (input[0] === 0 && !equalBytes(encodeAttestationV0(attestation), input))
      throw new Error("read, but written back otherwise");
    return `${attestation.platform.eventLog.length} entries, ${attestation.runtimeEvents.length} events`;
  },
  isRefusal: isAttestError,
};

/** A compact length in its three forms, in place of a byte that may be one. */
function editCompact(random: Random, seed: Uint8Array): Uint8Array {
  if (seed.length === 0) return seed;
  const at = random.below(seed.length);
  const value = random.pick([0, 1, seed[at]! >> 2, (seed[at]! >> 2) + 1, 48, 63, 64, 16_383, 16_384, 2 ** 30 - 1]);
  const form = random.pick([
    [value << 2],
    [(value << 2) | 1, value >> 6],
    [(value << 2) | 2, value >> 6, value >> 14, value >> 22],
    [3, 0, 0, 0, 64],
  ]);
  return Uint8Array.from([...seed.subarray(0, at), ...form, ...seed.subarray(at + 1)]);
}

export const attestationV1: Target = {
  name: "attestation-v1",
  about: "versioned attestation, msgpack",
  findings,
  seeds: () => [
    encodeAttestationV1(smallAttestation()),
    encodeAttestationV1({
      ...smallAttestation(),
      runtimeEvents: bootEvents().map((event) => ({ ...event, version: 2 as const })),
    }),
  ],
  mutate: (random, seed, other) => (random.oneIn(2) ? mutateBytes(random, seed, other) : mutateMsgpack(random, seed)),
  run: (input) => {
    const attestation: Attestation = decodeAttestation(input);
    deepStrictEqual(decodeAttestation(encodeAttestationV1(attestation)), attestation);
    return `${attestation.platform.eventLog.length} entries, ${attestation.runtimeEvents.length} events`;
  },
  isRefusal: isAttestError,
};

export const appInfo: Target = {
  name: "app-info",
  about: "app info of certificates, msgpack",
  findings,
  seeds: () => [encodeAppInfo(emptyAppInfo())],
  mutate: (random, seed, other) => (random.oneIn(2) ? mutateBytes(random, seed, other) : mutateMsgpack(random, seed)),
  run: (input) => {
    decodeAppInfo(input);
    return "read";
  },
  isRefusal: (error) => isAttestError(error) || error instanceof BytesError || error instanceof DerError,
};

function emptyAppInfo(): Parameters<typeof encodeAppInfo>[0] {
  return decodeAppInfo(new Encoder().encode([20, 32, 20, 32, 32, 32, 32, 0].map((length) => new Uint8Array(length))));
}

/** Edits the document, and now and then its bytes as well; bytes that are none are edited as bytes. */
function mutateMsgpack(random: Random, seed: Uint8Array): Uint8Array {
  let value: Value;
  try {
    value = decode(seed) as Value;
  } catch {
    return mutateBytes(random, seed, seed);
  }
  const bytes = new Encoder().encode(mutateValue(random, value));
  return random.oneIn(4) ? mutateBytes(random, bytes, seed) : bytes;
}
