import { createHash, createPublicKey, sign, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Quote, QuoteVerifier } from "@phala/dcap-qvl";
import {
  collateralFromJson,
  decodeRuntimeEvents,
  encodeEventLogJson,
  parseEventLogJson,
  parseQuote,
  planQuote,
  replayRtmr3,
  runtimeEntries,
  trustAnchorFromPem,
} from "@dstack/attest";
import { checkCollateral, verifyQuote } from "@dstack/attest/node";
import { cacheDirectory } from "@dstack/files";
import { osImageHash, parseImageMetadata } from "@dstack/image";
import { privateKeyObject, spkiDer } from "@dstack/keys";
import { measureVm, parseVmConfig } from "@dstack/measure";
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
export function evidence(args: readonly string[]): Promise<void> {
  const effort = args.includes("--quick") ? QUICK : FULL;
  verification(effort);
  parsing(effort);
  eventLog(effort);
  imageMeasurement(effort);
  return Promise.resolve();
}

function verification(effort: Effort): void {
  const subjects = (recordedVectors !== undefined ? realEvidence(recordedVectors) : [forge(goodScene())])
    .map(subjectOf)
    .filter((subject) => subject !== undefined);
  const [first] = subjects;
  if (first === undefined) throw new Error("no evidence that both libraries accept");
  const { warm, cold } = first;
  section(
    `quote verification (${recordedVectors !== undefined ? `${subjects.length} real quotes with Intel's collateral, in turn` : "a forged quote: no vectors beside the checkout"}; each ${cold} P-256 verifications cold, ${warm} with cached collateral)`,
  );
  const ms = rounds(
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
  ratio("cold, of dcap-qvl's rate", ms, "@phala/dcap-qvl", "cold", "aim 10");
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

function parsing(effort: Effort): void {
  const { quote } = forge(goodScene());
  const buffer = Buffer.from(quote);
  section("quote parsing");
  const ms = rounds(
    [
      { name: "parse", run: () => parseQuote(quote) },
      { name: "@phala/dcap-qvl", run: () => Quote.parse(buffer) },
    ],
    effort,
  );
  show(ms);
  ratio("of dcap-qvl's rate", ms, "@phala/dcap-qvl", "parse");
}

function eventLog(effort: Effort): void {
  const events = Array.from({ length: EVENTS }, (_, index) => ({
    event: `event-${index}`,
    payload: new Uint8Array(32).fill(index),
  }));
  const json = encodeEventLogJson(runtimeEntries(events));
  section(`event log of ${EVENTS} entries: parse, check each digest, replay`);
  const ms = rounds(
    [
      { name: "log", run: () => replayRtmr3(decodeRuntimeEvents(parseEventLogJson(json))) },
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
  );
}

/** Digest and extension of each event: two SHA-384 over about a hundred bytes. */
function bareReplay(): Uint8Array {
  const block = Buffer.alloc(96);
  for (let i = 0; i < 2 * EVENTS; i++) createHash("sha384").update(block).digest().copy(block);
  return block;
}

function imageMeasurement(effort: Effort): void {
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
  const ms = rounds(
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
