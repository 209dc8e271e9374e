import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { errorChain } from "@dstack/errors";
import { createLogger } from "@dstack/log";
import type { HttpServer } from "@dstack/rpc";
import { startMockPccs, type MockEdition, type MockEditionName } from "@dstack/tee-simulator";
import { makeEvidence, makeImage, newPki, wireForms } from "../../libs/verify/test/mock-app.ts";
import { createCli } from "../src/clients/cli.ts";
import type { VmmClient } from "../src/clients/vmm-client.ts";
import type { TcbStatusOptions } from "../src/tcb/options.ts";
import { tcbStatus } from "../src/tcb/status.ts";
import { captured } from "./captured.ts";

const pki = newPki();
let folder = "";
let quoteFile = "";
let pccs: HttpServer;
let editions: Map<MockEditionName, MockEdition>;
let asked: MockEditionName[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tcb-status-"));
  const image = await makeImage(folder);
  const { attestation } = makeEvidence(image, { pki });
  quoteFile = join(folder, "quote.bin");
  await writeFile(quoteFile, attestation.platform.quote);
  await writeFile(join(folder, "evidence.json"), JSON.stringify(wireForms(makeEvidence(image, { pki })).quote));
  await writeFile(join(folder, "root.pem"), pki.rootPem);
  pccs = await startMockPccs({
    pki,
    host: "127.0.0.1",
    port: 0,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    clock: Date,
    edition: (name) => {
      asked.push(name);
      return editions.get(name);
    },
  });
});
after(async () => {
  await pccs.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  asked = [];
  editions = new Map<MockEditionName, MockEdition>([
    ["standard", { evaluation: 17, microcode: 0 }],
    ["early", { evaluation: 18, microcode: 3 }],
    [16, { evaluation: 16, microcode: 0 }],
    [19, { evaluation: 19, microcode: 4 }],
  ]);
});

interface Report {
  readonly ok: boolean;
  readonly platforms: readonly {
    readonly name: string;
    readonly fmspc: string;
    readonly issues: readonly {
      readonly issue: string | number;
      readonly ok: boolean | null;
      readonly evaluation: number | null;
      readonly status: string | null;
      readonly reason: string | null;
      readonly shortfall: { readonly best: { readonly status: string; readonly short: readonly object[] } } | null;
    }[];
  }[];
}

const run = (change: Partial<TcbStatusOptions> = {}, what = quoteFile): Promise<{ code: number; text: string }> => {
  const env = { XDG_STATE_HOME: join(folder, "state"), XDG_CACHE_HOME: join(folder, `cache-${randomUUID()}`) };
  const options: TcbStatusOptions = {
    evaluation: [],
    early: true,
    output: "text",
    root: join(folder, "root.pem"),
    pccs: [`http://${pccs.address}`],
    ...change,
  };
  return captured(() => tcbStatus(createCli(env), what, options));
};
async function report(change: Partial<TcbStatusOptions> = {}): Promise<Report & { readonly code: number }> {
  const { code, text } = await run({ ...change, output: "json" });
  return { code, ...(JSON.parse(text) as Report) };
}

test("says today's verdict and the announced one, with what is short for it, and ends with 3", async () => {
  const { code, ok, platforms } = await report();
  assert.deepEqual([code, ok], [3, false]);
  const [platform] = platforms;
  assert.equal(platform?.fmspc, "000000000000");
  assert.deepEqual(
    platform?.issues.map(({ issue, ok: accepted, evaluation, status }) => [issue, accepted, evaluation, status]),
    [
      ["standard", true, 17, "UpToDate"],
      ["early", false, 18, "OutOfDate"],
    ],
  );
  assert.deepEqual(platform?.issues[1]?.shortfall?.best.short, [
    { part: "tdx-component", index: 2, has: 0, needs: 3, update: "microcode" },
  ]);
  const { text } = await run();
  assert.match(text, /today +17 .*UpToDate +accepted/);
  assert.match(text, /early +18 .*OutOfDate +NOT accepted +MOCK-SA-00001/);
  assert.match(text, /needs TDX component 2 at 3 \(has 0\) by a microcode update/);
});

test("ends with 0 where every issue accepts the platform, and asks for no other", async () => {
  assert.equal((await report({ early: false })).code, 0);
  assert.deepEqual([...new Set(asked)], ["standard"]);
  editions.set("early", { evaluation: 18, microcode: 0 });
  assert.equal((await report({ evaluation: [16] })).code, 0);
});

test("judges by each evaluation number that is asked for", async () => {
  const { code, platforms } = await report({ early: false, evaluation: [16, 19] });
  assert.equal(code, 3);
  assert.deepEqual(
    platforms[0]?.issues.map(({ issue, ok, status }) => [issue, ok, status]),
    [
      ["standard", true, "UpToDate"],
      [16, true, "UpToDate"],
      [19, false, "OutOfDate"],
    ],
  );
});

test("documents that cannot be had are not known, never good: the exit code is 1", async () => {
  const { code, ok, platforms } = await report({ early: false, evaluation: [42] });
  assert.deepEqual([code, ok, platforms[0]?.issues[1]?.ok], [1, false, null]);
  assert.match(platforms[0]?.issues[1]?.reason ?? "", /answered 404/);
  editions.clear();
  assert.equal((await report()).code, 1);
});

test("takes no other issue from a cache that does not know numbers", async () => {
  editions.set(20, { evaluation: 17, microcode: 0 });
  const { code, platforms } = await report({ early: false, evaluation: [20] });
  assert.deepEqual([code, platforms[0]?.issues[1]?.ok], [1, null]);
  assert.match(platforms[0]?.issues[1]?.reason ?? "", /asked for TCB evaluation 20, answered with 17/);
});

test("goes by a policy where one is given", async () => {
  const policy = join(folder, "policy.json");
  await writeFile(policy, JSON.stringify({ accepted_statuses: ["UpToDate", "OutOfDate"] }));
  assert.equal((await report({ policy })).code, 0);
  await writeFile(policy, JSON.stringify({ accepted_statuses: ["UpToDate", "OutOfDate"], accepted_advisories: [] }));
  assert.equal((await report({ policy })).code, 3);
});

test("reads the quote out of evidence in a file, and refuses a file without one", async () => {
  const { code, text } = await run({ early: false }, join(folder, "evidence.json"));
  assert.equal(code, 0, text);
  await assert.rejects(run({}, join(folder, "root.pem")), /holds no quote/);
});

test("a quote that does not hold is not accepted, whatever its platform", async () => {
  const broken = join(folder, "broken.bin");
  const { attestation } = makeEvidence(await makeImage(folder), { pki: newPki("77".repeat(32)) });
  await writeFile(broken, attestation.platform.quote);
  const { code, text } = await run({ early: false }, broken);
  assert.equal(code, 3);
  assert.match(text, /NOT accepted/);
});

test("without an argument asks the first app that runs on this machine, and says so where none does", async () => {
  const env = { XDG_STATE_HOME: join(folder, "state"), XDG_CACHE_HOME: join(folder, "cache-none") };
  const statusWith = (list: readonly object[]): Promise<unknown> => {
    const cli = { ...createCli(env), vmm: async () => ({ list: async () => list }) as unknown as VmmClient };
    return captured(() => tcbStatus(cli, undefined, { evaluation: [], early: true, output: "text", pccs: [] }));
  };
  const stopped = { status: "stopped", appId: "5e".repeat(20) };
  const running = { status: "running", appId: "a1".repeat(20) };
  await assert.rejects(statusWith([stopped]), { code: "not-found", message: /no app runs on this machine/ });
  await assert.rejects(statusWith([stopped, running]), (error: unknown) => {
    assert.match(errorChain(error), new RegExp(`${"a1".repeat(20)}-8090\\.dstack\\.localhost`));
    return true;
  });
});
