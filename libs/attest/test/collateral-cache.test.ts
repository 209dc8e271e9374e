/** What is kept in memory and on disk: its bounds, its damage, and clocks and servers that misbehave. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { collateralFromJson, parseQuote } from "@dstack/attest";
import { CollateralFolder, verifyQuote } from "@dstack/attest/node";
import type { CollateralFetcher } from "@dstack/attest/node";
import type { Quote } from "@dstack/attest";
import { forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import type { Forged } from "../../../tests/forge/forged-evidence.ts";
import {
  code,
  folder,
  forged,
  HOUR,
  pccs,
  quote,
  settled,
  start,
  trustAnchor,
  World,
  writtenAt,
} from "./pccs-world.ts";

const DAY = 24 * HOUR;
const collateral = collateralFromJson(forged.collateral);
const never: World["handler"] = () => new Promise(() => undefined);

/** A platform of another family. */
function family(index: number): Forged {
  const other = goodScene(start / 1000);
  const fmspc = Uint8Array.of(0, 0, 0, 1, index >> 8, index & 255);
  other.certificates.pck.platform!.fmspc = fmspc;
  other.tcbInfo["fmspc"] = Buffer.from(fmspc).toString("hex");
  return forge(other);
}

/** Each platform gets its own family's collateral. */
const serving =
  (...all: readonly Forged[]): World["handler"] =>
  (url, signal) => {
    const asked = url.searchParams.get("fmspc")?.toLowerCase();
    const made = all.find((one) => one.collateral["tcb_info"]?.toLowerCase().includes(`"fmspc":"${asked}"`)) ?? all[0];
    return made === undefined ? undefined : pccs(made)(url, signal);
  };

async function servedFrom(fetcher: CollateralFetcher, world: World, one: Quote = quote): Promise<"memory" | "server"> {
  world.taken();
  await fetcher.collateralFor(one);
  return world.taken() === 0 ? "memory" : "server";
}

test("a foreign or damaged file in the cache is told and counts for nothing", async () => {
  const cacheFolder = folder();
  const world = new World();
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  const [name] = readdirSync(cacheFolder);
  const path = join(cacheFolder, name!);
  const whole = readFileSync(path);
  const damages: readonly (readonly [string, () => void, RegExp])[] = [
    ["a pipe", () => execFileSync("mkfifo", [path]), /expected a regular file/],
    ["a folder", () => mkdirSync(path), /EISDIR/],
    ["no UTF-8", () => writeFileSync(path, Uint8Array.of(0xff, 0xfe)), /not UTF-8/],
    ["half of it", () => writeFileSync(path, whole.subarray(0, whole.length / 2)), /not valid JSON/],
    ["a member said twice", () => writeFileSync(path, '{"pck_crl":"","pck_crl":""}'), /is said twice/],
    ["a huge file", () => (writeFileSync(path, ""), truncateSync(path, 8 * 1024 * 1024 + 1)), /limit 8388608/],
    ["an unreadable link", () => symlinkSync(path, path), /ELOOP/],
  ];
  for (const [what, damage, says] of damages) {
    renameSync(path, join(folder()));
    damage();
    const fetcher = world.fetcher({ cacheFolder });
    assert.equal(await servedFrom(fetcher, world), "server", what);
    assert.match(world.problems.splice(0).join("\n"), says, what);
    assert.equal(await servedFrom(fetcher, world), "memory", what);
  }
});

test("names that are no keys are left alone, and are not read", async () => {
  const cacheFolder = folder();
  mkdirSync(cacheFolder);
  for (const foreign of ["notes.txt", "UPPER.json", ".hidden.json", `${"x".repeat(90)}.json`])
    writeFileSync(join(cacheFolder, foreign), "{");
  const world = new World();
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  assert.deepEqual(world.problems, []);
  assert.equal(readdirSync(cacheFolder).length, 5);
});

test("what a killed writer left is never read, and goes with a later write once it is old", async () => {
  const store = new CollateralFolder(folder());
  await store.write("tdx-a", collateral);
  const left = [".tdx-a.json.0123456789ab.tmp", ".tdx-b.json.ba9876543210.tmp"].map((name) => join(store.path, name));
  for (const path of left) writeFileSync(path, "{");
  writtenAt(left[0]!, Date.now() - 2 * HOUR);
  assert.deepEqual(await store.keys(), ["tdx-a"]);
  await store.write("tdx-a", collateral);
  assert.deepEqual(
    left.map((path) => existsSync(path)),
    [false, true],
    "the old one, not one that is being written",
  );
});

test("the folder is bounded in bytes as in files, and the kept ones go last", async () => {
  const store = new CollateralFolder(folder());
  await store.write("k0", collateral);
  for (let index = 1; index <= 9; index++) {
    const path = join(store.path, `k${index}.json`);
    writeFileSync(path, "");
    truncateSync(path, 8 * 1024 * 1024);
    writtenAt(path, start + 1000 * index);
  }
  writtenAt(join(store.path, "k0.json"), start);
  await store.write("new", collateral, new Set(["k0", "k1"]));
  assert.deepEqual((await store.keys()).toSorted(), ["k0", "k1", "k4", "k5", "k6", "k7", "k8", "k9", "new"]);
});

test("collateral is written for the owner alone, in a folder for the owner alone", async () => {
  const cacheFolder = folder();
  await new World().fetcher({ cacheFolder }).collateralFor(quote);
  assert.equal(statSync(cacheFolder).mode & 0o777, 0o700);
  for (const name of readdirSync(cacheFolder)) assert.equal(statSync(join(cacheFolder, name)).mode & 0o777, 0o600);
});

test("a folder that cannot be written or read is told, and no decision fails by it", async () => {
  const below = folder();
  writeFileSync(below, "a file where the folder should be");
  const locked = folder();
  mkdirSync(locked);
  if (process.getuid?.() !== 0) chmodSync(locked, 0o000);
  for (const cacheFolder of [join(below, "x"), "/proc/self", ...(process.getuid?.() === 0 ? [] : [locked])]) {
    const world = new World();
    const fetcher = world.fetcher({ cacheFolder });
    assert.ok(await fetcher.collateralFor(quote), cacheFolder);
    assert.equal(await servedFrom(fetcher, world), "memory", cacheFolder);
    assert.ok(world.problems.length > 0, cacheFolder);
  }
});

test("what expired is not served from the disk either, though it is read", async () => {
  const cacheFolder = folder();
  const world = new World();
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  world.handler = () => new Response("", { status: 500 });
  world.now += 29 * DAY + 1000;
  const fetcher = world.fetcher({ cacheFolder });
  await assert.rejects(fetcher.collateralFor(quote), code("collateral-unavailable", /answered 500/));
  assert.match(world.problems.join("\n"), /\(cached\): collateral-fresh: .*expired/);
});

test("what expires during the wait for its renewal is not served", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  await fetcher.collateralFor(quote);
  world.now += 29 * DAY - 1000;
  world.handler = () => {
    world.now += 2000;
    return new Response("", { status: 500 });
  };
  await assert.rejects(fetcher.collateralFor(quote), code("collateral-unavailable"));
});

test("what expires during the pause after a failed renewal is not served", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  const first = await fetcher.collateralFor(quote);
  world.handler = () => new Response("", { status: 500 });
  world.now += 29 * DAY - 30_000;
  assert.equal(await fetcher.collateralFor(quote), first);
  world.now += 31_000;
  await assert.rejects(fetcher.collateralFor(quote), code("collateral-unavailable"));
});

test("platforms beyond the bound go, those first by which nobody passed", async () => {
  const honest = family(0);
  const world = new World();
  const others = Array.from({ length: 70 }, (_, index) => family(index + 1));
  world.handler = serving(honest, ...others);
  const fetcher = world.fetcher();
  const genuine = parseQuote(honest.quote);
  const proof = verifyQuote(honest.quote, await fetcher.collateralFor(genuine), { now: start / 1000, trustAnchor });
  assert.ok(proof.ok);
  const quotes = others.map((other) => parseQuote(other.quote));
  for (const one of quotes) await fetcher.collateralFor(one);
  assert.equal(await servedFrom(fetcher, world, genuine), "memory", "the one that passed");
  assert.equal(await servedFrom(fetcher, world, quotes[69]), "memory", "the newest");
  assert.equal(await servedFrom(fetcher, world, quotes[7]), "memory");
  assert.equal(await servedFrom(fetcher, world, quotes[0]), "server", "the oldest");
});

test("a renewal keeps the place of a platform that passed", async () => {
  const honest = family(0);
  const world = new World();
  const others = Array.from({ length: 64 }, (_, index) => family(index + 1));
  world.handler = serving(honest, ...others);
  const fetcher = world.fetcher();
  const genuine = parseQuote(honest.quote);
  assert.ok(verifyQuote(honest.quote, await fetcher.collateralFor(genuine), { now: start / 1000, trustAnchor }).ok);
  world.now += 5 * HOUR;
  assert.equal(await servedFrom(fetcher, world, genuine), "server");
  for (const other of others) await fetcher.collateralFor(parseQuote(other.quote));
  assert.equal(await servedFrom(fetcher, world, genuine), "memory");
});

/** As many platforms that nobody knows as there are places for, none of whom is ever answered. */
async function besieged(fetcher: CollateralFetcher, world: World, during: () => Promise<void>): Promise<void> {
  const ends = new AbortController();
  world.handler = never;
  const strangers = Array.from({ length: 33 }, (_, index) => parseQuote(family(500 + index).quote));
  const waiting = strangers.map((one) => fetcher.collateralFor(one, ends.signal).catch((error: unknown) => error));
  await settled(() => world.requests.length >= 4 * 32);
  await during();
  ends.abort();
  await Promise.all(waiting);
}

test("what was on the disk at a start goes after made-up platforms, and is served while those take all places", async () => {
  const honest = family(0);
  const genuine = parseQuote(honest.quote);
  const cacheFolder = folder();
  const others = Array.from({ length: 66 }, (_, index) => family(index + 1));
  const world = new World(serving(honest, ...others));
  await world.fetcher({ cacheFolder }).collateralFor(genuine);
  writtenAt(join(cacheFolder, readdirSync(cacheFolder)[0]!), start);
  const fetcher = world.fetcher({ cacheFolder });
  for (const other of others) await fetcher.collateralFor(parseQuote(other.quote));
  rmSync(cacheFolder, { recursive: true });
  world.taken();
  await besieged(fetcher, world, async () => {
    world.taken();
    assert.equal(await servedFrom(fetcher, world, genuine), "memory");
  });
});

test("what memory has no room for is read from the disk, also while made-up platforms take all places", async () => {
  const honest = family(0);
  const genuine = parseQuote(honest.quote);
  const cacheFolder = folder();
  const others = Array.from({ length: 66 }, (_, index) => family(index + 1));
  const world = new World(serving(honest, ...others));
  const first = world.fetcher({ cacheFolder });
  await first.collateralFor(genuine);
  const [name] = readdirSync(cacheFolder);
  for (const other of others) await first.collateralFor(parseQuote(other.quote));
  writtenAt(join(cacheFolder, name!), start - 60_000);
  const fetcher = world.fetcher({ cacheFolder });
  await fetcher.open();
  world.taken();
  await besieged(fetcher, world, async () => {
    world.taken();
    assert.equal(await servedFrom(fetcher, world, genuine), "memory");
  });
});

test("a server that answers slowly costs a caller seconds at most while something valid is there", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const world = new World();
  const fetcher = world.fetcher();
  const first = await fetcher.collateralFor(quote);
  world.now += 5 * HOUR;
  world.handler = never;
  const waiting = fetcher.collateralFor(quote);
  let served: unknown;
  void waiting.then((value) => {
    served = value;
  });
  await new Promise(setImmediate);
  context.mock.timers.tick(2_999);
  await new Promise(setImmediate);
  assert.equal(served, undefined, "it is waited for");
  context.mock.timers.tick(1);
  assert.equal(await waiting, first);
  world.now += 3_000;
  const next = fetcher.collateralFor(quote);
  await new Promise(setImmediate);
  context.mock.timers.tick(0);
  assert.equal(await next, first, "and nobody waits for it again");
});

for (const step of [366 * DAY, -366 * DAY]) {
  test(`a clock that is stepped by ${step / DAY} days refuses, and all is as before when it is right again`, async () => {
    const world = new World();
    const fetcher = world.fetcher({ cacheFolder: folder() });
    const first = await fetcher.collateralFor(quote);
    world.now += step;
    await assert.rejects(fetcher.collateralFor(quote), code("collateral-rejected", /the clock says/));
    world.now = start + HOUR;
    assert.equal(await fetcher.collateralFor(quote), first);
    world.now = start + 3 * HOUR;
    world.taken();
    await fetcher.collateralFor(quote);
    assert.ok(world.taken() > 0, "and it is renewed in time");
  });
}

test("a clock that ran ahead and was set back does not hold up renewals", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  world.now = start + 20 * DAY;
  await fetcher.collateralFor(quote);
  world.now = start;
  assert.equal(await servedFrom(fetcher, world), "server");
  world.now = start + 20 * DAY + 5 * HOUR;
  world.handler = () => new Response("", { status: 500 });
  await fetcher.collateralFor(quote);
  world.now = start + 5 * HOUR;
  world.handler = pccs(forged);
  assert.equal(await servedFrom(fetcher, world), "server", "nor does the pause after a failure");
});

test("a pin that is written, replaced or taken away counts at once", async () => {
  const pinFolder = folder();
  const pins = new CollateralFolder(pinFolder);
  const world = new World();
  const fetcher = world.fetcher({ pinFolder });
  assert.equal(await servedFrom(fetcher, world), "server");
  const other = goodScene(start / 1000);
  other.tcbInfo["tcbEvaluationDataNumber"] = 18;
  other.qeIdentity["tcbEvaluationDataNumber"] = 18;
  const newer = forge(other);
  const path = await pins.write("tdx-platform-90c06f000000", collateral);
  const first = await fetcher.collateralFor(quote);
  assert.equal(await fetcher.collateralFor(quote), first, "read once while it stays");
  await pins.write("tdx-platform-90c06f000000", collateralFromJson(newer.collateral));
  assert.equal((await fetcher.collateralFor(quote)).tcbInfo, newer.collateral["tcb_info"]);
  writeFileSync(path, "{}");
  await assert.rejects(fetcher.collateralFor(quote), code("collateral-malformed"));
  renameSync(path, `${path}.away`);
  assert.notEqual((await fetcher.collateralFor(quote)).tcbInfo, newer.collateral["tcb_info"]);
});

test("a document that fails ends the wait for the others of that server", async () => {
  const aborted: string[] = [];
  const world = new World((url, signal) => {
    if (url.pathname.endsWith("/tcb")) return new Response("", { status: 404 });
    signal.addEventListener("abort", () => aborted.push(url.pathname));
    return new Promise(() => undefined);
  });
  await assert.rejects(world.fetcher().collateralFor(quote), code("collateral-unavailable", /tcb answered 404/));
  assert.equal(aborted.length, 3);
});

test("says how many days are left of each kind of document in use, and of nothing that nobody asks for", async () => {
  const soon = goodScene(start / 1000);
  const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");
  soon.pckCrl.nextUpdate = start / 1000 + 86_400 * 5;
  soon.tcbInfo["nextUpdate"] = iso(start / 1000 + 86_400 * 10);
  const ending = forge(soon);
  const world = new World(pccs(ending));
  const cacheFolder = folder();
  const fetcher = world.fetcher({ cacheFolder });
  assert.deepEqual([...fetcher.daysLeft()], []);
  await fetcher.collateralFor(parseQuote(ending.quote));
  const left = [
    ["root_ca_crl", 29],
    ["pck_crl", 5],
    ["tcb_info", 10],
    ["qe_identity", 29],
  ];
  assert.deepEqual([...fetcher.daysLeft()], left);
  const restarted = world.fetcher({ cacheFolder });
  await restarted.open();
  assert.deepEqual([...restarted.daysLeft()], [], "read from the disk and not asked for yet");
  await restarted.collateralFor(parseQuote(ending.quote));
  assert.deepEqual([...restarted.daysLeft()], left);
  world.handler = () => new Response("", { status: 500 });
  world.now += 6 * DAY;
  await assert.rejects(fetcher.collateralFor(parseQuote(ending.quote)), code("collateral-unavailable"));
  assert.equal(fetcher.daysLeft().get("pck_crl"), -1, "one that has ended, and is still asked for");
  world.now += 2 * DAY;
  assert.deepEqual([...fetcher.daysLeft()], []);
});

test("an answer that breaks off half-way is a failed server, and what is valid is served", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  const first = await fetcher.collateralFor(quote);
  const whole = world.handler;
  world.handler = (url, signal) =>
    url.pathname.endsWith("/tcb")
      ? new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(new TextEncoder().encode('{"tcbInfo":{"id":"TDX"'));
              controller.error(new Error("socket hang up"));
            },
          }),
        )
      : whole(url, signal);
  world.now += 5 * HOUR;
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.match(world.problems.at(-1) ?? "", /pccs\.example: .*tcb: socket hang up/);
});
