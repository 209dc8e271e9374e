import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { concatBytes, parseHex, toHex, u16le, u32le } from "@dstack/bytes";
import { AttestError, collateralFromJson, collateralToJson, parseQuote, trustAnchorFromPem } from "@dstack/attest";
import type { Quote } from "@dstack/attest";
import {
  CollateralFolder,
  collateralKey,
  fixedCollateral,
  keyOfCollateral,
  platformOf,
  verifyQuote,
} from "@dstack/attest/node";
import { forge, goodScene, goodSgxScene } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import {
  code,
  folder,
  forged,
  HOUR,
  pccs,
  quote,
  scene,
  settled,
  start,
  trustAnchor,
  World,
  writtenAt,
} from "./pccs-world.ts";
import type { Handler } from "./pccs-world.ts";

test("asks for the platform's documents by the routes of a PCCS and serves them verified", async () => {
  const world = new World();
  const collateral = await world.fetcher().collateralFor(quote);
  assert.deepEqual(collateralToJson(collateral), forged.collateral);
  assert.deepEqual(world.requests.toSorted(), [
    "pccs.example/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
    "pccs.example/sgx/certification/v4/rootcacrl",
    "pccs.example/tdx/certification/v4/qe/identity?update=standard",
    "pccs.example/tdx/certification/v4/tcb?fmspc=90C06F000000",
  ]);
  assert.ok(verifyQuote(forged.quote, collateral, { now: start / 1000, trustAnchor }).ok);
});

test("asks for SGX documents for an SGX quote, and the processor CA's list for its certificates", async () => {
  const sgx = goodSgxScene(start / 1000);
  sgx.certificates.pckCa.name = "Forged SGX PCK Processor CA";
  sgx.certificates.pck.issuer = "Forged SGX PCK Processor CA";
  sgx.pckCrl.issuer = "Forged SGX PCK Processor CA";
  const other = forge(sgx);
  const world = new World(pccs(other));
  await world.fetcher({ trustAnchor: trustAnchorFromPem(other.rootPem) }).collateralFor(parseQuote(other.quote));
  assert.ok(world.requests.includes("pccs.example/sgx/certification/v4/tcb?fmspc=90C06F000000"));
  assert.ok(world.requests.includes("pccs.example/sgx/certification/v4/pckcrl?ca=processor&encoding=der"));
  assert.ok(world.requests.includes("pccs.example/sgx/certification/v4/qe/identity?update=standard"));
});

test("shares one fetch among all who ask at once, and keeps what came", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  const [first, second] = await Promise.all([fetcher.collateralFor(quote), fetcher.collateralFor(quote)]);
  assert.equal(first, second);
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.equal(world.taken(), 4);
});

test("one caller's abort leaves the others their fetch", async () => {
  const gate = Promise.withResolvers<undefined>();
  const world = new World();
  const served = world.handler;
  world.handler = async (url, signal) => {
    await gate.promise;
    return (await served(url, signal)) ?? new Response("", { status: 404 });
  };
  const fetcher = world.fetcher();
  const abort = new AbortController();
  const [impatient, patient] = [fetcher.collateralFor(quote, abort.signal), fetcher.collateralFor(quote)];
  abort.abort();
  await assert.rejects(impatient, code("collateral-unavailable", /aborted/));
  await assert.rejects(fetcher.collateralFor(quote, AbortSignal.abort()), code("collateral-unavailable", /aborted/));
  gate.resolve(undefined);
  assert.ok(await patient);
});

test("asks nobody for a caller who has left, so that no failure is left without a handler (DS #1232)", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  const world = new World(() => undefined);
  const leave = new AbortController();
  const asked = world.fetcher().collateralFor(quote, leave.signal);
  leave.abort(new Error("hung up"));
  await assert.rejects(asked, code("collateral-unavailable", /aborted/));
  await new Promise((resolve) => {
    setTimeout(resolve, 50);
  });
  process.off("unhandledRejection", note);
  assert.deepEqual(unhandled, []);
  assert.equal(world.taken(), 0);
});

test("tries its endpoints in order until one gives collateral that holds", async () => {
  const stale = forge({
    ...goodScene(start / 1000),
    now: start / 1000,
    tcbInfo: { ...goodScene(start / 1000).tcbInfo, nextUpdate: "2020-01-01T00:00:00Z" },
  });
  const strange = goodScene(start / 1000);
  strange.certificates.root = { ...strange.certificates.root, key: "stranger", signer: "stranger" };
  const elsewhere = forge(strange);
  const otherPlatform = goodScene(start / 1000);
  otherPlatform.tcbInfo["fmspc"] = "00A067110000";
  const wrong = forge(otherPlatform);
  const wrongTee = forge(goodSgxScene(start / 1000));
  const servers: Readonly<Record<string, Handler>> = {
    "down.example": () => Promise.reject(new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") })),
    "error.example": () => new Response("", { status: 503 }),
    "garbage.example": () => new Response("<html>"),
    "stale.example": pccs(stale),
    "strange.example": pccs(elsewhere),
    "wrong.example": pccs(wrong),
    "sgx.example": pccs(wrongTee),
    "good.example": pccs(forged),
  };
  const world = new World((url, signal) => servers[url.host]?.(url, signal));
  const bad = ["down", "error", "garbage", "stale", "strange", "wrong", "sgx"].map((name) => `https://${name}.example`);
  assert.ok(
    await world.fetcher({ endpoints: [...bad, "https://good.example", "https://never.example"] }).collateralFor(quote),
  );
  assert.deepEqual(
    [...new Set(world.requests.map((request) => request.split("/")[0]))],
    [...bad.map((url) => url.slice(8)), "good.example"],
  );
  await assert.rejects(
    world.fetcher({ endpoints: bad }).collateralFor(quote),
    code(
      "collateral-unavailable",
      /no server of 7 gave any: .*down\.example.*ECONNREFUSED; .*error\.example.*503, expected 200; .*garbage\.example: \/sgx\/certification\/v4\/\w+: revocation list is neither DER nor hex; .*stale\.example: collateral-fresh: TCB info expired.*; .*strange\.example: pck-crl: .*; .*FMSPC 00a067110000, asked for 90c06f000000; .*TCB info is for SGX, asked for TDX/,
    ),
  );
  await assert.rejects(
    world.fetcher({ endpoints: ["https://stale.example"] }).collateralFor(quote),
    code("collateral-rejected", /stale\.example: collateral-fresh: TCB info expired/),
  );
  await assert.rejects(
    world.fetcher({ endpoints: ["https://down.example"] }).collateralFor(quote),
    code("collateral-unavailable", /ECONNREFUSED/),
  );
});

test("gives an endpoint that hangs its time and no more, and all of them theirs", async () => {
  const world = new World((url, signal) =>
    url.host === "hangs.example"
      ? new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        })
      : pccs(forged)(url, signal),
  );
  assert.ok(
    await world
      .fetcher({ endpoints: ["https://hangs.example", "https://good.example"], attemptTimeoutMs: 30 })
      .collateralFor(quote),
  );
  await assert.rejects(
    world
      .fetcher({
        endpoints: ["https://hangs.example", "https://good.example"],
        attemptTimeoutMs: 60_000,
        timeoutMs: 30,
      })
      .collateralFor(quote),
    code("collateral-unavailable", /hangs\.example/),
  );
});

test("refreshes young collateral in the background and old one before it answers", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  const first = await fetcher.collateralFor(quote);
  assert.equal(world.taken(), 4);
  world.now += 2 * HOUR - 1;
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.equal(world.taken(), 0, "fresh");
  world.now += 1;
  assert.equal(await fetcher.collateralFor(quote), first, "served at once");
  await settled(() => world.requests.length === 4);
  let second = await fetcher.collateralFor(quote);
  await settled(
    () =>
      second !== first ||
      (fetcher.collateralFor(quote).then(
        (now) => {
          second = now;
        },
        () => undefined,
      ),
      false),
  );
  assert.equal(world.taken(), 4, "the refreshed one is kept");
  world.now += 4 * HOUR;
  const third = await fetcher.collateralFor(quote);
  assert.notEqual(third, second, "waited for");
  assert.equal(world.taken(), 4);
});

test("serves valid collateral where a refresh fails, tells, and does not ask again at once", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  const first = await fetcher.collateralFor(quote);
  world.taken();
  world.handler = () => new Response("", { status: 500 });
  world.now += 5 * HOUR;
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.ok(world.taken() > 0);
  assert.match(world.problems.at(-1) ?? "", /answered 500/);
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.equal(world.taken(), 0, "within a minute of the failure");
  world.now += 61_000;
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.ok(world.taken() > 0, "tried again after it");
});

test("serves nothing that has expired", async () => {
  const world = new World();
  const fetcher = world.fetcher({ cacheFolder: folder() });
  await fetcher.collateralFor(quote);
  world.handler = () => new Response("", { status: 500 });
  world.now += 29 * 24 * HOUR + 1000;
  await assert.rejects(fetcher.collateralFor(quote), code("collateral-unavailable", /answered 500/));
});

test("asks ahead of expiry", async () => {
  const world = new World();
  const fetcher = world.fetcher();
  world.now = start + 29 * 24 * HOUR - 5 * HOUR;
  const first = await fetcher.collateralFor(quote);
  world.taken();
  world.now += 30_000;
  assert.equal(await fetcher.collateralFor(quote), first);
  assert.equal(world.taken(), 0, "asked less than a minute ago");
  world.now += 31_000;
  assert.equal(await fetcher.collateralFor(quote), first);
  await settled(() => world.requests.length === 4);
});

test("keeps collateral on disk across restarts, and reads it back verified", async () => {
  const world = new World();
  const cacheFolder = folder();
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  assert.equal(world.taken(), 4);
  const [file] = readdirSync(cacheFolder);
  assert.match(file ?? "", /^tdx-platform-90c06f000000-[0-9a-f]{16}\.json$/);
  assert.equal(statSync(join(cacheFolder, file!)).mode & 0o777, 0o600);
  writtenAt(join(cacheFolder, file!), start - HOUR);
  assert.deepEqual(collateralToJson(await world.fetcher({ cacheFolder }).collateralFor(quote)), forged.collateral);
  assert.equal(world.taken(), 0, "from the file");
});

test("fetches anew what on disk is corrupt, forged, expired, of another platform or old", async () => {
  const world = new World();
  const cacheFolder = folder();
  const path = (): string => join(cacheFolder, readdirSync(cacheFolder)[0]!);
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  world.taken();
  const forgery = forge(
    Object.assign(goodScene(start / 1000), { signers: { ...scene.signers, tcbInfo: "stranger" } }) as Scene,
  );
  const expired = goodScene(start / 1000);
  expired.pckCrl.nextUpdate = start / 1000 - 1;
  const elsewhere = goodScene(start / 1000);
  elsewhere.tcbInfo["fmspc"] = "00A067110000";
  for (const [content, says] of [
    ["", /not valid JSON/],
    ["{", /not valid JSON/],
    ["{}", /pck_crl_issuer_chain is not text/],
    [JSON.stringify(forgery.collateral), /\(cached\): tcb-info/],
    [JSON.stringify(forge(expired).collateral), /PCK CRL expired/],
    [JSON.stringify(forge(elsewhere).collateral), /FMSPC 00a067110000/],
    ["0".repeat(8 * 1024 * 1024 + 1), /limit 8388608/],
  ] as const) {
    writeFileSync(path(), content);
    writtenAt(path(), start - HOUR);
    assert.ok(await world.fetcher({ cacheFolder }).collateralFor(quote));
    assert.equal(world.taken(), 4, content.slice(0, 20));
    assert.match(world.problems.at(-1) ?? "", says);
    assert.deepEqual(JSON.parse(readFileSync(path(), "utf8")), forged.collateral, "and replaces it");
  }
  for (const age of [2 * HOUR, -HOUR]) {
    writtenAt(path(), start - age);
    await world.fetcher({ cacheFolder }).collateralFor(quote);
    assert.equal(world.taken(), 4, `written ${age} ms ago`);
  }
  world.handler = () => new Response("", { status: 500 });
  writtenAt(path(), start - 10 * HOUR);
  assert.ok(await world.fetcher({ cacheFolder }).collateralFor(quote), "valid, so better than none");
});

test("does not mix what is cached under different roots", async () => {
  const strange = goodScene(start / 1000);
  strange.certificates.root = { ...strange.certificates.root, key: "stranger", signer: "stranger" };
  for (const name of ["pckCa", "tcbSigner", "qeSigner"] as const) strange.certificates[name].signer = "stranger";
  strange.rootCrl.signer = "stranger";
  const other = forge(strange);
  const cacheFolder = folder();
  const world = new World();
  await world.fetcher({ cacheFolder }).collateralFor(quote);
  world.handler = pccs(other);
  await world
    .fetcher({ cacheFolder, trustAnchor: trustAnchorFromPem(other.rootPem) })
    .collateralFor(parseQuote(other.quote));
  assert.equal(readdirSync(cacheFolder).length, 2);
  assert.deepEqual(world.problems, []);
});

test("works where the cache cannot be written", async () => {
  const world = new World();
  const file = folder();
  writeFileSync(file, "in the way");
  assert.ok(await world.fetcher({ cacheFolder: file }).collateralFor(quote));
  assert.ok(world.problems.length > 0);
});

test("uses pinned collateral as it is, and fetches nothing, even where it has expired", async () => {
  const pinFolder = folder();
  const pins = new CollateralFolder(pinFolder);
  const key = keyOfCollateral(collateralFromJson(forged.collateral));
  assert.equal(key, "tdx-platform-90c06f000000");
  const path = await pins.write(key, collateralFromJson(forged.collateral));
  assert.equal(path, join(pinFolder, `${key}.json`));
  const world = new World();
  const fetcher = world.fetcher({ pinFolder });
  const pinned = await fetcher.collateralFor(quote);
  assert.deepEqual(collateralToJson(pinned), forged.collateral);
  assert.equal(await fetcher.collateralFor(quote), pinned);
  world.now += 40 * 24 * HOUR;
  const late = await world.fetcher({ pinFolder }).collateralFor(quote);
  assert.equal(world.taken(), 0);
  const verification = verifyQuote(forged.quote, late, { now: world.now / 1000, trustAnchor });
  assert.match(verification.ok ? "" : verification.reason, /^collateral-fresh: .*expired/);
  writeFileSync(path, "{}");
  await assert.rejects(world.fetcher({ pinFolder }).collateralFor(quote), code("collateral-malformed"));
  rmSync(path);
  world.now = start;
  assert.ok(await world.fetcher({ pinFolder }).collateralFor(quote));
  assert.equal(world.taken(), 4, "without a pin it fetches");
});

test("keeps to its folder whatever a key is, and to its number of files", async () => {
  const collateral = collateralFromJson(forged.collateral);
  const store = new CollateralFolder(folder());
  for (const key of ["", "../x", "a/b", "A", "x".repeat(81), "."])
    assert.throws(() => store.fileOf(key), code("collateral-malformed"), key);
  assert.equal(await store.read("none"), undefined);
  for (let index = 0; index <= 256; index++) {
    const path = await store.write(`k${index}`, collateral);
    writtenAt(path, 1000 * index);
  }
  assert.equal(readdirSync(store.path).length, 256);
  assert.equal(existsSync(join(store.path, "k0.json")), false, "the oldest went");
});

test("follows the root's own word where a server has no root list, as Intel's has none", async () => {
  const world = new World();
  const served = pccs(forged);
  world.handler = (url, signal) =>
    url.pathname.endsWith("/rootcacrl")
      ? undefined
      : url.href === "https://certs.example/root.der"
        ? new Response(parseHex(forged.collateral["root_ca_crl"] ?? "").slice())
        : served(url, signal);
  const anchor = { ...trustAnchor, crlUrl: "https://certs.example/root.der" };
  assert.deepEqual(
    collateralToJson(await world.fetcher({ trustAnchor: anchor }).collateralFor(quote)),
    forged.collateral,
  );
  assert.ok(world.requests.includes("certs.example/root.der"));
  await assert.rejects(world.fetcher().collateralFor(quote), code("collateral-unavailable", /rootcacrl answered 404/));
});

test("follows redirects from https to https alone, and not without end", async () => {
  const served = pccs(forged);
  const to = (location: string): Response => new Response(null, { status: 302, headers: { location } });
  const world = new World((url, signal) =>
    url.host === "moved.example" && url.pathname.endsWith("/tcb")
      ? to(`https://pccs.example${url.pathname}${url.search}`)
      : served(url, signal),
  );
  assert.ok(await world.fetcher({ endpoints: ["https://moved.example"] }).collateralFor(quote));
  await assert.rejects(
    world.fetcher({ endpoints: ["http://moved.example"] }).collateralFor(quote),
    code("collateral-unavailable", /from https to https only/),
  );
  world.handler = (url, signal) => (url.pathname.endsWith("/tcb") ? to("http://pccs.example/x") : served(url, signal));
  await assert.rejects(
    world.fetcher().collateralFor(quote),
    code("collateral-unavailable", /from https to https only/),
  );
  world.handler = (url, signal) => (url.pathname.endsWith("/tcb") ? to(url.href) : served(url, signal));
  await assert.rejects(
    world.fetcher().collateralFor(quote),
    code("collateral-unavailable", /redirects more than 3 times/),
  );
  assert.ok(world.requests.filter((request) => request.includes("/tcb")).length < 12);
});

const badAnswers: readonly (readonly [string, string, () => Response, string, RegExp])[] = [
  [
    "a document without end",
    "/tcb",
    () => new Response(new Uint8Array(1024 * 1024 + 1)),
    "collateral-malformed",
    /\/tcb is above 1048576 bytes/,
  ],
  [
    "a document without its signature",
    "/tcb",
    () => new Response(`{"tcbInfo":${forged.collateral["tcb_info"]}}`, { headers: { "TCB-Info-Issuer-Chain": "x" } }),
    "collateral-malformed",
    /expected \{"tcbInfo": \{...\}, "signature"/,
  ],
  [
    "a document that is not text",
    "/qe/identity",
    () => new Response(Uint8Array.of(0xff, 0xfe)),
    "collateral-malformed",
    /enclaveIdentity/,
  ],
  [
    "no issuer chain",
    "/qe/identity",
    () => new Response(`{"enclaveIdentity":{},"signature":"${"0".repeat(128)}"}`),
    "collateral-malformed",
    /header SGX-Enclave-Identity-Issuer-Chain is missing/,
  ],
  [
    "an issuer chain that is not URL-encoded",
    "/pckcrl",
    () =>
      new Response(parseHex(forged.collateral["pck_crl"] ?? "").slice(), {
        headers: { "SGX-PCK-CRL-Issuer-Chain": "%zz" },
      }),
    "collateral-malformed",
    /not URL-encoded/,
  ],
  [
    "a list that is neither DER nor hex",
    "/rootcacrl",
    () => new Response("<html>"),
    "collateral-malformed",
    /neither DER nor hex/,
  ],
  [
    "an answer that is not the document",
    "/pckcrl",
    () => new Response(null, { status: 204 }),
    "collateral-unavailable",
    /pckcrl answered 204, expected 200/,
  ],
];

for (const [what, route, answer, expected, says] of badAnswers) {
  test(`refuses a server that sends ${what}`, async () => {
    const served = pccs(forged);
    const world = new World((url, signal) => (url.pathname.endsWith(route) ? answer() : served(url, signal)));
    await assert.rejects(world.fetcher().collateralFor(quote), code(expected, says));
  });
}

test("reads the signature before the document too, and the older header of TCB info", async () => {
  const { collateral } = forged;
  const served = pccs(forged);
  const world = new World((url, signal) =>
    !url.pathname.endsWith("/tcb")
      ? served(url, signal)
      : new Response(
          `{ "signature" : "${collateral["tcb_info_signature"]}" , "tcbInfo" : ${collateral["tcb_info"]} }`,
          { headers: { "SGX-TCB-Info-Issuer-Chain": encodeURIComponent(collateral["tcb_info_issuer_chain"] ?? "") } },
        ),
  );
  assert.deepEqual(collateralToJson(await world.fetcher().collateralFor(quote)), collateral);
});

test("takes base URLs in each form that configurations hold, and only http and https", async () => {
  for (const suffix of ["", "/", "/sgx/certification/v4", "/tdx/certification/v4/", "/base/"]) {
    const world = new World();
    await world.fetcher({ endpoints: [`https://pccs.example${suffix}`] }).collateralFor(quote);
    assert.ok(
      world.requests.every((request) => /^pccs\.example(\/base)?\/(sgx|tdx)\/certification\/v4\/[a-z]/.test(request)),
      suffix,
    );
  }
  for (const url of ["ftp://x", "", "pccs.example", "file:///etc/passwd"])
    assert.throws(
      () => new World().fetcher({ endpoints: [url] }),
      code("collateral-unavailable", /http or https URL/),
      url,
    );
  assert.throws(() => new World().fetcher({ endpoints: [] }), code("collateral-unavailable", /at least one/));
});

test("tells no credentials of an endpoint", async () => {
  const world = new World(() => new Response("", { status: 401 }));
  await assert.rejects(
    world.fetcher({ endpoints: ["https://user:secret@pccs.example/base"] }).collateralFor(quote),
    (error: unknown) => error instanceof AttestError && !error.message.includes("secret"),
  );
});

test("fetches for a bounded number of platforms at once", async () => {
  const world = new World(() => new Promise(() => undefined));
  const fetcher = world.fetcher({ timeoutMs: 60_000 });
  const waiting = new AbortController();
  const platforms = Array.from({ length: 33 }, (_, index) => {
    const other = goodScene(start / 1000);
    other.certificates.pck.platform!.fmspc = Uint8Array.of(0, 0, 0, 0, 0, index);
    return parseQuote(forge(other).quote);
  });
  const pending = platforms
    .slice(0, 32)
    .map((platform) =>
      assert.rejects(fetcher.collateralFor(platform, waiting.signal), code("collateral-unavailable", /aborted/)),
    );
  await assert.rejects(
    fetcher.collateralFor(platforms[32]!),
    code("collateral-unavailable", /32 platforms are being fetched already/),
  );
  waiting.abort();
  await Promise.all(pending);
});

test("made-up platforms do not keep one from its collateral that passed before", async () => {
  const cacheFolder = folder();
  const world = new World();
  const known = world.fetcher({ cacheFolder });
  await known.collateralFor(quote);
  const restarted = world.fetcher({ cacheFolder });
  world.handler = () => new Promise(() => undefined);
  const leave = new AbortController();
  const strangers = Array.from({ length: 40 }, (_, index) => {
    const other = goodScene(start / 1000);
    other.certificates.pck.platform!.fmspc = Uint8Array.of(0, 0, 0, 0, 1, index);
    return parseQuote(forge(other).quote);
  });
  const refused = [known, restarted].flatMap((fetcher) =>
    strangers.map((stranger) =>
      assert.rejects(fetcher.collateralFor(stranger, leave.signal), code("collateral-unavailable")),
    ),
  );
  // All places of both are taken before anything is answered.
  await settled(() => world.requests.filter((request) => request.includes("/tcb?")).length === 65);
  world.now += 5 * HOUR;
  writtenAt(join(cacheFolder, readdirSync(cacheFolder)[0]!), start);
  world.handler = pccs(forged);
  for (const fetcher of [known, restarted]) assert.ok(await fetcher.collateralFor(quote));
  leave.abort();
  await Promise.all(refused);
});

/** The quote with its PCK certificate named by encrypted PPID, and what a server answers to that. */
function named(pceId = 0): { readonly quote: Quote; readonly leaf: string; readonly issuers: string } {
  const blocks = new TextDecoder()
    .decode((quote.certification as Extract<Quote["certification"], { kind: "pem-chain" }>).pem)
    .split(/(?<=-----END CERTIFICATE-----\n)/);
  const certification = {
    kind: "encrypted-ppid" as const,
    encryptedPpid: new Uint8Array(384).fill(0xee),
    cpuSvn: new Uint8Array(16).fill(7),
    pceSvn: 0x0d0c,
    pceId: u16le(pceId),
  };
  return { quote: { ...quote, certification }, leaf: blocks[0] ?? "", issuers: blocks.slice(1).join("") };
}

const TCBM = toHex(concatBytes(new Uint8Array(16).fill(5), u16le(13)));

test("asks for the certificate of a platform that is named by encrypted PPID", async () => {
  const { quote: byPpid, leaf, issuers } = named();
  const served = pccs(forged);
  const world = new World((url, signal) =>
    url.pathname.endsWith("/pckcert")
      ? new Response(leaf, {
          headers: { "SGX-PCK-Certificate-Issuer-Chain": encodeURIComponent(issuers), "SGX-TCBm": TCBM.toUpperCase() },
        })
      : served(url, signal),
  );
  const collateral = await world.fetcher({ cacheFolder: folder() }).collateralFor(byPpid);
  assert.equal(collateral.pckCertificateChain, leaf + issuers);
  assert.equal(
    world.requests[0],
    `pccs.example/sgx/certification/v4/pckcert?qeid=${"00".repeat(16)}&encrypted_ppid=${"EE".repeat(384)}&cpusvn=${"07".repeat(16)}&pcesvn=0C0D&pceid=0000`,
  );
  assert.match(collateralKey(platformOf(byPpid)), /^tdx-pck-[0-9a-f]{40}$/);
  assert.notEqual(collateralKey(platformOf(byPpid)), collateralKey(platformOf(named(1).quote)));
});

for (const [what, headers, body, expected, says] of [
  ["no TCBm", {}, undefined, "collateral-malformed", /SGX-TCBm is missing, expected 0505/],
  [
    "another TCBm",
    { "SGX-TCBm": `06${TCBM.slice(2)}` },
    undefined,
    "collateral-malformed",
    /SGX-TCBm is 0605.*expected 0505/,
  ],
  ["a TCBm that is not hex", { "SGX-TCBm": "zz" }, undefined, "collateral-malformed", /SGX-TCBm: not hexadecimal/],
  ["no certificate", { "SGX-TCBm": TCBM }, "nothing", "certificate-malformed", /no SGX extension/],
] as const) {
  test(`refuses a PCK certificate that comes with ${what}`, async () => {
    const { quote: byPpid, leaf, issuers } = named();
    const world = new World((url) =>
      url.pathname.endsWith("/pckcert")
        ? new Response(body ?? leaf, {
            headers: { "SGX-PCK-Certificate-Issuer-Chain": encodeURIComponent(issuers), ...headers },
          })
        : new Response(""),
    );
    await assert.rejects(world.fetcher().collateralFor(byPpid), code(expected, says));
  });
}

test("asks nobody for a quote whose certificate cannot be read", async () => {
  const world = new World();
  for (const pem of [Uint8Array.of(0xff), new TextEncoder().encode("none"), new TextEncoder().encode(forged.rootPem)]) {
    await assert.rejects(
      world.fetcher().collateralFor({ ...quote, certification: { kind: "pem-chain", pem } }),
      code("certificate-malformed"),
    );
  }
  assert.equal(world.taken(), 0);
});

test("gives documents at hand as they are", async () => {
  const collateral = collateralFromJson(forged.collateral);
  assert.equal(await fixedCollateral(collateral).collateralFor(quote), collateral);
});

test("names the key of collateral by its own documents", () => {
  assert.equal(keyOfCollateral(collateralFromJson(forge(goodSgxScene()).collateral)), "sgx-platform-90c06f000000");
  assert.throws(
    () => keyOfCollateral({ ...collateralFromJson(forged.collateral), pckCrl: u32le(0) }),
    code("collateral-malformed"),
  );
});
