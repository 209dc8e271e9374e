/** Callers that go away before their verdict keep nothing: no place, no download. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { trustAnchorFromPem } from "@dstack/attest";
import { fixedCollateral } from "@dstack/attest/node";
import { ImageStore } from "@dstack/image/store";
import { createLogger } from "@dstack/log";
import { startHttpServer, type HttpServer } from "@dstack/rpc";
import { downloadedImages, firstOf, imagesBelow, SeenPlatforms } from "@dstack/verify";
import { collateralAt, makeEvidence, makeImage, newPki, NOW, wireForms } from "../../../libs/verify/test/mock-app.ts";
import { httpRoutes } from "../src/http-routes.ts";
import { Metrics } from "../src/metrics.ts";
import { Verifier } from "../src/verifier.ts";

const pki = newPki();
const log = createLogger({ name: "t", stream: { write: (line: string) => (logged += line) } });
let logged = "";
let folder = "";
let good: Readonly<Record<string, string>> = {};
/** Begins to answer, and never ends. */
let images: Server;
let downloads = 0;
let underWay = 0;
let service: HttpServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verifier-departed-"));
  const image = await makeImage(folder);
  good = wireForms(makeEvidence(image, { pki })).quote;
  images = createServer((_request, response) => {
    downloads++;
    underWay++;
    response.once("close", () => underWay--);
    response.writeHead(200).write("x");
  });
  await new Promise<void>((resolve) => images.listen(0, "127.0.0.1", resolve));
  const store = new ImageStore({
    cacheDir: join(folder, "cache"),
    downloadUrl: `http://127.0.0.1:${(images.address() as AddressInfo).port}/{OS_IMAGE_HASH}`,
    timeoutMs: 300_000,
    log,
  });
  const verifier = new Verifier({
    collateralSource: fixedCollateral(collateralAt(pki)),
    trustAnchor: trustAnchorFromPem(pki.rootPem),
    images: firstOf(imagesBelow(folder), downloadedImages(store)),
    clock: { now: () => NOW * 1000 },
    log,
  });
  service = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    routes: httpRoutes(verifier, new Metrics(new SeenPlatforms(Date), () => new Map()), log),
    log,
  });
});
after(async () => {
  images.closeAllConnections();
  images.close();
  await service.close();
  await rm(folder, { recursive: true, force: true });
});

const verify = (request: object, signal?: AbortSignal): Promise<Response> =>
  fetch(`http://${service.address}/verify`, {
    method: "POST",
    body: JSON.stringify(request),
    ...(signal === undefined ? {} : { signal }),
  });
const ofImage = (hash: string): object => ({
  ...good,
  vm_config: JSON.stringify({ ...(JSON.parse(good["vm_config"] ?? "{}") as object), os_image_hash: hash }),
});
const newHash = (): string => randomBytes(32).toString("hex");

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 20_000; !holds(); await sleep(10))
    assert.ok(performance.now() < deadline, `${what}: ${downloads} downloads, ${underWay} under way`);
}

test(
  "callers that hang up, running or waiting, leave their places and their downloads",
  { timeout: 60_000 },
  async () => {
    const leaving = new AbortController();
    const storm = Array.from({ length: 68 }, () => verify(ofImage(newHash()), leaving.signal));
    const ended = Promise.allSettled(storm);
    await until("the places are taken", () => underWay === 4);
    let refused = 0;
    // The last of the storm may still be on their way.
    for (let tries = 0; refused === 0 && tries < 500; tries++) {
      const late = new AbortController();
      const answer = verify(ofImage(newHash()), late.signal).catch(() => undefined);
      refused = (await Promise.race([answer, sleep(20)]))?.status ?? 0;
      late.abort();
    }
    assert.equal(refused, 503, "all places are taken");
    leaving.abort();
    await ended;
    const response = await verify(good, AbortSignal.timeout(15_000));
    assert.equal(response.status, 200);
    assert.equal(((await response.json()) as { is_valid: boolean }).is_valid, true);
    await until("nothing goes on", () => underWay === 0);
    assert.ok(downloads <= 8, `those who left while they waited asked for no image: ${downloads}`);
    assert.doesNotMatch(logged, /broke off|outside its handler/);
  },
);

test("a download goes on for who waits for it still, and ends with the last", { timeout: 60_000 }, async () => {
  const hash = newHash();
  const [first, second] = [new AbortController(), new AbortController()];
  const begun = downloads;
  const gone = verify(ofImage(hash), first.signal).catch(() => "gone");
  await until("the first asks", () => underWay === 1);
  const staying = verify(ofImage(hash), second.signal).catch(() => "gone");
  await sleep(200);
  first.abort();
  assert.equal(await gone, "gone");
  await sleep(200);
  assert.deepEqual([downloads - begun, underWay], [1, 1]);
  second.abort();
  assert.equal(await staying, "gone");
  await until("the download ends", () => underWay === 0);
});
