/**
 * A server that was restored from a backup, stands still, or is hostile serves documents of last month:
 * Intel's signature and their dates hold. What is known must not be forgotten.
 */
import assert from "node:assert/strict";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parseQuote } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import type { CollateralFetcher } from "@dstack/attest/node";
import { forge, goodScene, tcbLevel } from "../../../tests/forge/forged-evidence.ts";
import type { Forged, Scene } from "../../../tests/forge/forged-evidence.ts";
import { code, folder, HOUR, pccs, start, trustAnchor, World, writtenAt } from "./pccs-world.ts";

const DAY = 86_400;
const now = start / 1000;
const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");

interface Edition {
  /** Days since each document was issued; it ends 30 days after that. */
  readonly tcbInfo: number;
  readonly qeIdentity: number;
  readonly pckCrl: number;
  readonly rootCrl: number;
  readonly evaluation: number;
  readonly crlNumber: number;
}
const NEW: Edition = { tcbInfo: 1, qeIdentity: 1, pckCrl: 1, rootCrl: 1, evaluation: 20, crlNumber: 7 };
const BEFORE: Edition = { ...NEW, pckCrl: 3, rootCrl: 3, tcbInfo: 3, qeIdentity: 3, crlNumber: 6 };
const OLD: Edition = { tcbInfo: 25, qeIdentity: 25, pckCrl: 25, rootCrl: 25, evaluation: 19, crlNumber: 6 };

interface Platform {
  readonly bar?: boolean;
  readonly revoked?: number[];
  readonly fmspc?: string;
}

const published = (edition: Edition, platform?: Platform): Forged => forge(publishedScene(edition, platform));

function publishedScene(edition: Edition, { bar = false, revoked = [], fmspc }: Platform = {}): Scene {
  const made = goodScene(now);
  const window = (age: number) => ({ issueDate: iso(now - age * DAY), nextUpdate: iso(now + (30 - age) * DAY) });
  const period = (age: number) => ({ thisUpdate: now - age * DAY, nextUpdate: now + (30 - age) * DAY });
  const tcbEvaluationDataNumber = edition.evaluation;
  Object.assign(made.tcbInfo, window(edition.tcbInfo), { tcbEvaluationDataNumber });
  Object.assign(made.qeIdentity, window(edition.qeIdentity), { tcbEvaluationDataNumber });
  if (bar) {
    const levels = made.tcbInfo["tcbLevels"] as Record<string, unknown>[];
    levels.unshift(tcbLevel({ sgx: [6, 6, 5, 5, 5], pceSvn: 13, tdx: [5, 0, 7], status: "UpToDate" }));
    Object.assign(levels[1]!, { tcbStatus: "OutOfDate" });
  }
  if (fmspc !== undefined) {
    made.tcbInfo["fmspc"] = fmspc;
    made.certificates.pck.platform!.fmspc = Uint8Array.from(Buffer.from(fmspc, "hex"));
  }
  made.pckCrl = { ...made.pckCrl, ...period(edition.pckCrl), revoked, number: edition.crlNumber };
  made.rootCrl = { ...made.rootCrl, ...period(edition.rootCrl), number: edition.crlNumber };
  return made;
}

/** The same of the other authority that certifies platforms. */
function ofProcessorCa(made: Scene): Forged {
  const name = "Forged SGX PCK Processor CA";
  made.certificates.pckCa.name = name;
  made.certificates.pck.issuer = name;
  made.pckCrl.issuer = name;
  return forge(made);
}

async function verdict(world: World, fetcher: CollateralFetcher, { quote }: Forged): Promise<string> {
  const collateral = await fetcher.collateralFor(parseQuote(quote));
  const result = verifyQuote(quote, collateral, { now: world.now / 1000, trustAnchor });
  return result.ok ? result.status : "refused";
}

for (const [what, known, before] of [
  ["a raised bar", published(NEW, { bar: true }), "OutOfDate"],
  ["a revoked certificate", published(NEW, { revoked: [102] }), "refused"],
] as const) {
  test(`${what} is not forgotten when the server goes back to older documents, nor over a restart`, async () => {
    const world = new World(pccs(known));
    const cacheFolder = folder();
    const fetcher = world.fetcher({ cacheFolder });
    assert.equal(await verdict(world, fetcher, known), before);
    world.handler = pccs(published(OLD));
    world.now += 5 * HOUR;
    assert.equal(await verdict(world, fetcher, known), before, "five hours later");
    assert.match(world.problems.at(-1) ?? "", /pccs\.example: .* is older than the one of .* that was seen before/);
    writtenAt(join(cacheFolder, readdirSync(cacheFolder)[0]!), world.now - 5 * HOUR);
    assert.equal(await verdict(world, world.fetcher({ cacheFolder }), known), before, "after a restart");
  });
}

for (const [what, older, says] of [
  [
    "TCB info",
    { tcbInfo: 2 },
    /TCB info \(TDX FMSPC 90c06f000000\) of .*, number 20 is older than the one of TCB info/,
  ],
  ["a QE identity", { qeIdentity: 2 }, /QE identity \(TD_QE\)/],
  [
    "an evaluation number",
    { tcbInfo: 0, qeIdentity: 0, evaluation: 19 },
    /TCB info .* number 19 is older than .* number 20/,
  ],
  ["a PCK revocation list", { pckCrl: 2 }, /PCK CRL \(Forged SGX PCK Platform CA\)/],
  ["a root revocation list", { rootCrl: 2 }, /root CRL \(Forged SGX Root CA\)/],
  ["a list's number", { pckCrl: 0, rootCrl: 0, crlNumber: 6 }, /root CRL .* number 6 is older than .* number 7/],
] as const) {
  test(`a server that gives an older edition of ${what} has failed, and the next is asked`, async () => {
    const servers = { "stalled.example": published({ ...NEW, ...older }), "good.example": published(NEW) };
    const world = new World(pccs(published(NEW)));
    const endpoints = ["https://stalled.example", "https://good.example"];
    const fetcher = world.fetcher({ endpoints });
    const { quote } = published(NEW);
    await fetcher.collateralFor(parseQuote(quote));
    world.handler = (url, signal) => pccs(servers[url.host as keyof typeof servers])(url, signal);
    world.taken();
    world.now += 5 * HOUR;
    await fetcher.collateralFor(parseQuote(quote));
    assert.ok(world.requests.some((request) => request.startsWith("good.example")));
    assert.match(world.problems.join("\n"), /stalled\.example/);
    assert.match(world.problems.join("\n"), says);
  });
}

test("what all platforms share is not older for one that was never seen, also after a restart", async () => {
  const world = new World(pccs(published(NEW)));
  const cacheFolder = folder();
  const fetcher = world.fetcher({ cacheFolder });
  await fetcher.collateralFor(parseQuote(published(NEW).quote));
  const other = published({ ...NEW, pckCrl: 2, crlNumber: 6 }, { fmspc: "00a067110000" });
  world.handler = pccs(other);
  for (const one of [fetcher, world.fetcher({ cacheFolder })])
    await assert.rejects(one.collateralFor(parseQuote(other.quote)), code("collateral-rejected", /is older than/));
  const current = published(NEW, { fmspc: "00a067110000" });
  world.handler = pccs(current);
  assert.ok(await fetcher.collateralFor(parseQuote(current.quote)));
});

test("what expired while nobody served still bounds what comes after it", async () => {
  const world = new World(pccs(published({ ...NEW, tcbInfo: 29 })));
  const cacheFolder = folder();
  await world.fetcher({ cacheFolder }).collateralFor(parseQuote(published(NEW).quote));
  world.now += 2 * DAY * 1000;
  const longer = goodScene(now);
  Object.assign(longer.tcbInfo, { issueDate: iso(now - 40 * DAY), tcbEvaluationDataNumber: 20 });
  Object.assign(longer.qeIdentity, { issueDate: iso(now - 40 * DAY), tcbEvaluationDataNumber: 20 });
  world.handler = pccs(forge(longer));
  await assert.rejects(
    world.fetcher({ cacheFolder }).collateralFor(parseQuote(published(NEW).quote)),
    code("collateral-rejected", /is older than/),
  );
});

test("the same edition again is no step back, and a cache that is gone knows nothing", async () => {
  const world = new World(pccs(published(NEW)));
  const cacheFolder = folder();
  const { quote } = published(NEW);
  const fetcher = world.fetcher({ cacheFolder });
  await fetcher.collateralFor(parseQuote(quote));
  world.now += 5 * HOUR;
  await fetcher.collateralFor(parseQuote(quote));
  assert.deepEqual(world.problems, []);
  writeFileSync(join(cacheFolder, "tdx-platform-90c06f000000.json"), "{}");
  rmSync(cacheFolder, { recursive: true });
  world.handler = pccs(published(OLD));
  assert.ok(await world.fetcher({ cacheFolder }).collateralFor(parseQuote(quote)));
});

test("only what verifies moves the bound: a forged edition of next year does not", async () => {
  const future = goodScene(now);
  Object.assign(future.tcbInfo, { tcbEvaluationDataNumber: 99 });
  Object.assign(future.qeIdentity, { tcbEvaluationDataNumber: 99 });
  future.signers.tcbInfo = "stranger";
  const world = new World(pccs(forge(future)));
  const fetcher = world.fetcher();
  const { quote } = published(NEW);
  await assert.rejects(fetcher.collateralFor(parseQuote(quote)), code("collateral-rejected", /tcb-info/));
  world.handler = pccs(published(NEW));
  assert.ok(await fetcher.collateralFor(parseQuote(quote)));
});

test("TCB info and QE identity of two evaluations are not accepted together", async () => {
  const mixed = goodScene(now);
  mixed.qeIdentity["tcbEvaluationDataNumber"] = 9;
  const made = forge(mixed);
  const says = /qe-identity: QE identity is of evaluation 9, the TCB info of 17; expected one evaluation/;
  await assert.rejects(
    new World(pccs(made)).fetcher().collateralFor(parseQuote(made.quote)),
    code("collateral-rejected", says),
  );
});

for (const [what, handler] of [
  ["goes on serving the old list", pccs(published(BEFORE))],
  ["answers 500", () => new Response("", { status: 500 })],
] as const) {
  test(`a revocation that came with another platform's answer counts at once where the server ${what}, and after a restart`, async () => {
    const known = published(BEFORE);
    const world = new World(pccs(known));
    const cacheFolder = folder();
    const fetcher = world.fetcher({ cacheFolder });
    assert.equal(await verdict(world, fetcher, known), "UpToDate");
    const other = published(NEW, { fmspc: "00a067110000", revoked: [102] });
    world.handler = pccs(other);
    world.now += 61_000;
    await fetcher.collateralFor(parseQuote(other.quote));
    world.handler = handler;
    world.taken();
    assert.equal(await verdict(world, fetcher, known), "refused", "a minute later");
    assert.equal(world.taken(), 0, "nothing need be asked for that");
    world.now += 5 * HOUR;
    assert.equal(await verdict(world, fetcher, known), "refused", "when its renewal fails");
    world.now += 5 * DAY * 1000;
    assert.equal(await verdict(world, world.fetcher({ cacheFolder }), known), "refused", "after a restart");
  });
}

test("a list that moved forward without revoking a platform leaves it as it was", async () => {
  const known = published(BEFORE);
  const world = new World(pccs(known));
  const fetcher = world.fetcher();
  await verdict(world, fetcher, known);
  world.handler = pccs(published(NEW, { fmspc: "00a067110000" }));
  world.now += 61_000;
  await fetcher.collateralFor(parseQuote(published(NEW, { fmspc: "00a067110000" }).quote));
  world.taken();
  assert.equal(await verdict(world, fetcher, known), "UpToDate");
  assert.equal(world.taken(), 0);
});

test("a list of another authority counts for the platforms of that one alone", async () => {
  const known = published(BEFORE);
  const world = new World(pccs(known));
  const fetcher = world.fetcher();
  await verdict(world, fetcher, known);
  const other = ofProcessorCa(publishedScene(NEW, { fmspc: "00a067110000", revoked: [102] }));
  world.handler = pccs(other);
  world.now += 61_000;
  await fetcher.collateralFor(parseQuote(other.quote));
  assert.equal(await verdict(world, fetcher, known), "UpToDate");
});

test("a bar that one quote of a family raised counts for all of that family, whatever names their collateral", async () => {
  const known = published(BEFORE);
  const world = new World(pccs(known));
  const fetcher = world.fetcher();
  await verdict(world, fetcher, known);
  const other = ofProcessorCa(publishedScene(NEW, { bar: true }));
  world.handler = pccs(other);
  world.now += 61_000;
  await fetcher.collateralFor(parseQuote(other.quote));
  world.handler = pccs(known);
  assert.equal(await verdict(world, fetcher, known), "OutOfDate");
});

test("early documents of one family keep no other from the standard ones, also after a restart", async () => {
  const world = new World(pccs(published(NEW)));
  const cacheFolder = folder();
  const fetcher = world.fetcher({ cacheFolder });
  assert.equal(await verdict(world, fetcher, published(NEW)), "UpToDate");
  const early = published({ ...NEW, qeIdentity: 0, tcbInfo: 0, evaluation: 21 }, { fmspc: "00a067110000" });
  world.handler = pccs(early);
  assert.equal(await verdict(world, fetcher, early), "UpToDate");
  const standard = published(NEW, { fmspc: "00b067110000" });
  world.handler = pccs(standard);
  assert.equal(await verdict(world, fetcher, standard), "UpToDate");
  assert.equal(await verdict(world, world.fetcher({ cacheFolder }), standard), "UpToDate", "after a restart");
  const back = published(NEW, { fmspc: "00a067110000" });
  world.handler = pccs(back);
  world.now += 5 * HOUR;
  await fetcher.collateralFor(parseQuote(back.quote));
  assert.match(world.problems.at(-1) ?? "", /number 20 is older than .* number 21/, "and none goes back");
});

test("a revocation stays with the platform it is of, also when the file that brought it is gone", async () => {
  const known = published(BEFORE);
  const world = new World(pccs(known));
  const cacheFolder = folder();
  const fetcher = world.fetcher({ cacheFolder });
  await verdict(world, fetcher, known);
  const other = published(NEW, { fmspc: "00a067110000", revoked: [102] });
  world.handler = pccs(other);
  await fetcher.collateralFor(parseQuote(other.quote));
  world.handler = pccs(known);
  world.now += 5 * HOUR;
  assert.equal(await verdict(world, fetcher, known), "refused");
  const file = readdirSync(cacheFolder).find((name) => name.includes("00a067110000"));
  rmSync(join(cacheFolder, file!));
  assert.equal(await verdict(world, world.fetcher({ cacheFolder }), known), "refused");
});

test("of two processes on one folder the one with the older documents does not replace the newer ones, and learns them", async () => {
  const world = new World(pccs(published(BEFORE)));
  const cacheFolder = folder();
  const behind = world.fetcher({ cacheFolder });
  const known = published(BEFORE);
  assert.equal(await verdict(world, behind, known), "UpToDate");
  const ahead = world.fetcher({ cacheFolder });
  world.now += 5 * HOUR;
  world.handler = pccs(published(NEW, { bar: true }));
  assert.equal(await verdict(world, ahead, known), "OutOfDate");
  world.handler = pccs(published(BEFORE));
  assert.equal(await verdict(world, behind, known), "OutOfDate");
  assert.equal(await verdict(world, world.fetcher({ cacheFolder }), known), "OutOfDate", "after a restart");
});
