import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { reportDataFor, trustAnchorFromPem } from "@dstack/attest";
import { fixedCollateral } from "@dstack/attest/node";
import { generateP256, spkiDer, type P256Key } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { createCa, createLeaf } from "@dstack/ratls";
import {
  collateralAt,
  makeEvidence,
  makeImage,
  newPki,
  NOW,
  type MockImage,
} from "../../../libs/verify/test/mock-app.ts";
import { metricsText } from "../src/api/metrics.ts";
import { watchPlatforms, type AskedGuest, type Platforms } from "../src/api/platforms.ts";

const pki = newPki();
const log = createLogger({ name: "test", stream: { write: () => undefined } });
const issuer = createCa({ commonName: "app", key: generateP256(), pathLength: 0, now: NOW });

describe("metrics of the platform", () => {
  let folder: string;
  let image: MockImage;
  let asked: string[] = [];
  let nowMs = NOW * 1000;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "platforms-"));
    image = await makeImage(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** As an agent has it: evidence of its key, of this root's machine unless another is named. */
  function certificate(key: P256Key, of: P256Key = key, by = pki): string {
    const { attestation } = makeEvidence(image, { pki: by, reportData: reportDataFor("ratls-cert", spkiDer(of)) });
    return createLeaf({ commonName: "agent", issuer, publicPoint: key.publicPoint, attestation, now: NOW }).pem;
  }
  const guest = (id: string, pem: () => string): AskedGuest => ({
    id,
    certificate: async () => {
      asked.push(id);
      return pem();
    },
  });
  const watch = (...guests: readonly AskedGuest[]): Promise<Platforms> =>
    watchPlatforms({
      guests: () => guests,
      collateral: { ...fixedCollateral(collateralAt(pki)), daysLeft: () => new Map([["tcb_info", 29]]) },
      trustAnchor: trustAnchorFromPem(pki.rootPem),
      clock: { now: () => nowMs },
      log,
    });
  const fleet = { all: () => [] };
  const scraped = async (platforms: Platforms): Promise<string> => {
    await metricsText(fleet, platforms);
    await platforms.settled();
    return metricsText(fleet, platforms);
  };

  it("say how current the machine is that a guest proves to run on", async () => {
    const text = await scraped(await watch(guest("a", () => certificate(generateP256()))));
    assert.match(text, /^dstack_vmm_platforms_seen\{fmspc="000000000000",status="UpToDate"\} 1$/m);
    assert.match(text, /^dstack_vmm_collateral_left_days\{document="tcb_info"\} 29$/m);
  });

  it("count nothing that a guest makes up, and go on to the next", async () => {
    const key = generateP256();
    const text = await scraped(
      await watch(
        guest("silent", () => assert.fail("no answer")),
        guest("none", () => ""),
        guest("foreign key", () => certificate(key, generateP256())),
        guest("foreign root", () => certificate(key, key, newPki("5b".repeat(32)))),
      ),
    );
    assert.doesNotMatch(text, /^dstack_vmm_platforms_seen\{/m);
    asked = [];
    const mixed = await watch(
      guest("silent", () => assert.fail("no answer")),
      guest("good", () => certificate(key)),
    );
    assert.match(await scraped(mixed), /status="UpToDate"\} 1$/m);
    assert.deepEqual(asked, ["silent", "good"]);
  });

  it("ask the guests once in minutes, however often somebody scrapes, and after the clock was set", async () => {
    const platforms = await watch(guest("a", () => certificate(generateP256())));
    asked = [];
    await Promise.all([scraped(platforms), scraped(platforms), scraped(platforms)]);
    assert.deepEqual(asked, ["a"]);
    nowMs -= 86_400_000;
    await scraped(platforms);
    assert.deepEqual(asked, ["a", "a"]);
  });

  it("are those of the VMs alone where no collateral server is named", async () => {
    const text = await metricsText(
      { all: () => [{ state: { kind: "running" } }, { state: { kind: "running" } }] as never },
      undefined,
    );
    assert.match(text, /^dstack_vmm_vms\{state="running"\} 2$/m);
    assert.doesNotMatch(text, /platforms_seen/);
  });
});
