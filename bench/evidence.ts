import { createHash, createPublicKey, sign, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Quote, QuoteVerifier } from "@phala/dcap-qvl";
import {
  collateralFromJson,
  encodeEventLogJson,
  parseEventLogJson,
  parseQuote,
  planQuote,
  replayRuntimeLog,
  runtimeEntries,
  trustAnchorFromPem,
} from "@dstack/attest";
import { checkCollateral, fixedCollateral, verifyQuote } from "@dstack/attest/node";
import { utf8 } from "@dstack/bytes";
import { cacheDirectory } from "@dstack/files";
import { osImageHash, parseImageMetadata } from "@dstack/image";
import { privateKeyObject, spkiDer } from "@dstack/keys";
import {
  acpiEvents,
  measureLite,
  measureVm,
  parseVmConfig,
  tdxMeasurementCbor,
  type VmConfig,
  type VmMeasurement,
} from "@dstack/measure";
import {
  evidenceFromJson,
  imagesBelow,
  KnownMeasurements,
  verifyEvidence,
  type VerifyEvidenceOptions,
} from "@dstack/verify";
import {
  collateralAt,
  makeEvidence,
  makeImage,
  newPki,
  NOW,
  wireForms,
  type EvidenceOptions,
} from "../libs/verify/test/mock-app.ts";
import { forge, goodScene } from "../tests/forge/forged-evidence.ts";
import { keyOf } from "../tests/forge/forging-keys.ts";
import type { Forged } from "../tests/forge/forged-evidence.ts";
import { realEvidence } from "../tests/differential/recorded.ts";
import { recordedVectors } from "../tests/vectors/vector-sets.ts";
import { rounds } from "./rounds.ts";
import type { Contestant } from "./rounds.ts";

const FULL = { rounds: 15, turnMs: 120 };
const QUICK = { rounds: 3, turnMs: 10 };
type Effort = typeof FULL;
const EVENTS = 10_000;
const IMAGE = "dstack-sim-0.6.0";

/** Ratios of evidence checks to named peers, all in one run. `--quick` only shows that it runs. */
export async function evidence(args: readonly string[]): Promise<void> {
  const effort = args.includes("--quick") ? QUICK : FULL;
  await verification(effort);
  await parsing(effort);
  await eventLog(effort);
  await wholeEvidence(effort);
  await imageMeasurement(effort);
}

async function verification(effort: Effort): Promise<void> {
  const subjects = (recordedVectors !== undefined ? realEvidence(recordedVectors) : [forge(goodScene())])
    .map(subjectOf)
    .filter((subject) => subject !== undefined);
  const [first] = subjects;
  if (first === undefined) throw new Error("no evidence that both libraries accept");
  const { warm, cold } = first;
  section(
    `quote verification (${recordedVectors !== undefined ? `${subjects.length} real quotes with Intel's collateral, in turn` : "a forged quote: no vectors beside the checkout"}; each ${cold} P-256 verifications cold, ${warm} with cached collateral)`,
  );
  const ms = await rounds(
    [
      { name: "cold", run: inTurn(subjects.map(({ verifyCold }) => verifyCold)) },
      { name: "cached collateral", run: inTurn(subjects.map(({ verifyCached }) => verifyCached)) },
      { name: "@phala/dcap-qvl", run: inTurn(subjects.map(({ verifyByPeer }) => verifyByPeer)) },
      { name: "bare, cold", run: bareVerifications(cold) },
      { name: "bare, cached", run: bareVerifications(warm) },
      { name: "bare, cached, one new key", run: bareVerifications(warm, 1) },
    ],
    effort,
  );
  show(ms);
  ratio("cold, of dcap-qvl's rate", ms, "@phala/dcap-qvl", "cold", "aim at least 4");
  ratio("the most that the bare verifications allow", ms, "@phala/dcap-qvl", "bare, cold");
  ratio("cached collateral, of dcap-qvl's rate", ms, "@phala/dcap-qvl", "cached collateral", "aim 30");
  ratio("cold, of the bare verifications' time", ms, "cold", "bare, cold");
  ratio(
    "cached collateral, of the bare verifications' time",
    ms,
    "cached collateral",
    "bare, cached",
    "aim at most 1.5",
  );
  ratio(
    "the same, of bare verifications with the quote's own key made",
    ms,
    "cached collateral",
    "bare, cached, one new key",
  );
}

interface Subject {
  readonly verifyCold: () => boolean;
  readonly verifyCached: () => boolean;
  readonly verifyByPeer: () => unknown;
  /** Signatures that are verified. */
  readonly cold: number;
  readonly warm: number;
}

/** Undefined for evidence that one of the libraries refuses: refusing is quicker. */
function subjectOf({ quote, collateral: json, now, rootPem, rootDer }: Forged): Subject | undefined {
  const trustAnchor = trustAnchorFromPem(rootPem);
  const collateral = collateralFromJson(json);
  const checked = checkCollateral(collateral, trustAnchor);
  const options = { now, trustAnchor };
  const peer = QuoteVerifier.newWithRootCa(Buffer.from(rootDer));
  const peerQuote = Buffer.from(quote);
  const peerCollateral = json as unknown as Parameters<QuoteVerifier["verify"]>[1];
  const verifyByPeer = (): unknown => peer.verify(peerQuote, peerCollateral, now);
  try {
    verifyByPeer();
  } catch {
    return undefined;
  }
  const first = planQuote(parseQuote(quote), checked, options).signatures.length;
  const verifyCached = (): boolean => verifyQuote(quote, checked, options).ok;
  if (!verifyCached()) return undefined;
  return {
    verifyCold: () => verifyQuote(quote, collateralFromJson(json), options).ok,
    verifyCached,
    verifyByPeer,
    cold: checked.holding.size + first,
    warm: planQuote(parseQuote(quote), checked, options).signatures.length,
  };
}

function inTurn(runs: readonly (() => unknown)[]): () => unknown {
  let next = 0;
  return () => runs[next++ % runs.length]!();
}

/** The cryptography alone: `count` verifications with keys at hand, `newKeys` of them with a key that must be made first. */
function bareVerifications(count: number, newKeys = 0): () => void {
  const key = keyOf("attestation");
  const message = new Uint8Array(632).fill(7);
  const signature = sign("sha256", message, { key: privateKeyObject(key), dsaEncoding: "ieee-p1363" });
  const der = Buffer.from(spkiDer(key));
  const make = (): ReturnType<typeof createPublicKey> => createPublicKey({ key: der, format: "der", type: "spki" });
  const known = make();
  return () => {
    for (let i = 0; i < count; i++) {
      if (!verify("sha256", message, { key: i < newKeys ? make() : known, dsaEncoding: "ieee-p1363" }, signature))
        throw new Error("a bare verification failed");
    }
  };
}

async function parsing(effort: Effort): Promise<void> {
  const { quote } = forge(goodScene());
  const buffer = Buffer.from(quote);
  section("quote parsing");
  const ms = await rounds(
    [
      { name: "parse", run: () => parseQuote(quote) },
      { name: "@phala/dcap-qvl", run: () => Quote.parse(buffer) },
    ],
    effort,
  );
  show(ms);
  ratio("of dcap-qvl's rate", ms, "@phala/dcap-qvl", "parse");
}

async function eventLog(effort: Effort): Promise<void> {
  const events = Array.from({ length: EVENTS }, (_, index) => ({
    event: `event-${index}`,
    payload: new Uint8Array(32).fill(index),
  }));
  const json = encodeEventLogJson(runtimeEntries(events));
  section(`event log of ${EVENTS} entries: parse, check each digest, replay`);
  const ms = await rounds(
    [
      { name: "log", run: () => replayRuntimeLog(parseEventLogJson(json)) },
      { name: "JSON.parse", run: () => JSON.parse(json) as unknown },
      { name: "bare hashes", run: () => bareReplay() },
    ],
    effort,
  );
  show(ms);
  ratio(
    "of JSON.parse and the bare hashes together",
    new Map([...ms, ["bare", ms.get("JSON.parse")! + ms.get("bare hashes")!]]),
    "log",
    "bare",
    "aim at most 2",
  );
}

/** What `POST /verify` does with evidence of VMs of one kind, in both forms: collateral and measurements are known. */
async function wholeEvidence(effort: Effort): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-evidence-"));
  try {
    const image = await makeImage(folder);
    const pki = newPki();
    const trustAnchor = trustAnchorFromPem(pki.rootPem);
    const options: VerifyEvidenceOptions = {
      collateralSource: fixedCollateral(checkCollateral(collateralAt(pki), trustAnchor)),
      now: NOW,
      trustAnchor,
      images: imagesBelow(folder),
      known: new KnownMeasurements(),
    };
    const document = tdxMeasurementCbor(image.files);
    const list = utf8(`${createHash("sha256").update(document).digest("hex")}  measurement.tdx.cbor\n`);
    const lite = {
      os_image_hash: createHash("sha256").update(list).digest("hex"),
      tdx_attestation_variant: "lite",
      tdx_measurement: {
        checksum_file: Buffer.from(list).toString("base64"),
        measurement: Buffer.from(document).toString("base64"),
      },
    };
    const verify = (
      vmConfig: Record<string, unknown>,
      measure?: (config: VmConfig) => VmMeasurement,
    ): (() => Promise<void>) => {
      const { vmConfig: text } = makeEvidence(image, { pki, vmConfig });
      const measured = measure?.(parseVmConfig(text));
      const td: EvidenceOptions["td"] = (usual) =>
        measured === undefined
          ? usual
          : {
              ...usual,
              mrTd: measured.mrtd,
              rtmr: [measured.rtmr0, measured.rtmr1, measured.rtmr2, usual.rtmr[3]],
            };
      const request = wireForms(makeEvidence(image, { pki, vmConfig, td })).quote;
      return async () => {
        const { attestation, osImage } = await verifyEvidence(evidenceFromJson(request), options);
        if (!attestation.ok || osImage?.ok !== true) throw new Error("evidence that should hold does not");
      };
    };
    section("whole evidence at the verifier, collateral and measurements known");
    const ms = await rounds(
      [
        { name: "legacy", run: verify({}) },
        { name: "lite", run: verify(lite, (config) => measureLite(config, acpiEvents(config))) },
      ],
      effort,
    );
    show(ms);
    ratio("lite, of legacy's rate", ms, "legacy", "lite", "aim at least 1");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Digest and extension of each event: two SHA-384 over about a hundred bytes. */
function bareReplay(): Uint8Array {
  const block = Buffer.alloc(96);
  for (let i = 0; i < 2 * EVENTS; i++) createHash("sha384").update(block).digest().copy(block);
  return block;
}

async function imageMeasurement(effort: Effort): Promise<void> {
  const folder = resolve(cacheDirectory(process.env), "images", IMAGE);
  if (!existsSync(join(folder, "metadata.json"))) {
    section(`image measurement: no image at ${folder}; make one: ./dstack image build`);
    return;
  }
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));
  const metadata = parseImageMetadata(read("metadata.json"));
  const files = {
    firmware: read(metadata.bios ?? "ovmf.fd"),
    kernel: read(metadata.kernel),
    initrd: read(metadata.initrd),
    cmdline: metadata.cmdline ?? "",
  };
  const list = read("sha256sum.txt");
  const config = parseVmConfig('{"cpu_count":2,"memory_size":2147483648,"qemu_version":"10.0.2"}');
  const bytes = [files.firmware, files.kernel, files.initrd];
  section(
    `measuring the guest image (${(bytes.reduce((sum, { length }) => sum + length, 0) / 2 ** 20).toFixed(1)} MiB of firmware, kernel and initrd)`,
  );
  const ms = await rounds(
    [
      { name: "measure", run: () => [measureVm(files, config), osImageHash(list)] },
      { name: "SHA-384 of the files", run: () => bytes.map((file) => createHash("sha384").update(file).digest()) },
    ],
    { ...effort, turnMs: effort.turnMs * 2 },
  );
  show(ms);
  ratio("of hashing the files", ms, "measure", "SHA-384 of the files", "aim at most 1.3");
}

function section(title: string): void {
  process.stdout.write(`\n${title}\n`);
}

function show(ms: ReadonlyMap<string, number>): void {
  for (const [name, each] of ms)
    process.stdout.write(`  ${name.padEnd(28)} ${each.toFixed(each < 1 ? 4 : 2).padStart(9)} ms\n`);
}

function ratio(
  title: string,
  ms: ReadonlyMap<string, number>,
  numerator: Contestant["name"],
  denominator: Contestant["name"],
  aim?: string,
): void {
  process.stdout.write(
    `  ${((ms.get(numerator) ?? NaN) / (ms.get(denominator) ?? NaN)).toFixed(2)} x  ${title}${aim === undefined ? "" : ` (${aim})`}\n`,
  );
}
