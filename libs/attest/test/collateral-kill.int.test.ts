import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { collateralFromJson, parseQuote, trustAnchorFromPem } from "@dstack/attest";
import { CollateralFetcher, CollateralFolder } from "@dstack/attest/node";
import { WRITING } from "./collateral-writer.ts";
import { forged, pccs } from "./pccs-world.ts";

const KILLS = 5;
const root = mkdtempSync(join(tmpdir(), "collateral-kill-"));
after(() => rmSync(root, { recursive: true }));

test("a process that is killed while it writes leaves one whole edition, and litter that a later write takes away", async () => {
  const folder = join(root, "cache");
  const problems: string[] = [];
  const fetcher = (fetch?: typeof globalThis.fetch): CollateralFetcher =>
    new CollateralFetcher({
      endpoints: ["http://127.0.0.1:9"],
      trustAnchor: trustAnchorFromPem(forged.rootPem),
      cacheFolder: folder,
      onProblem: ({ message }) => problems.push(message),
      ...(fetch === undefined ? {} : { fetch }),
    });
  const store = new CollateralFolder(folder);
  const tag = await nameOf(fetcher);
  for (let round = 0; round < KILLS; round++) {
    const writer = spawn(process.execPath, ["--", join(import.meta.dirname, "collateral-writer.ts"), folder, tag], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    writer.stdin.end(JSON.stringify(forged.collateral));
    const [said] = (await once(writer.stdout, "data")) as [Buffer];
    assert.equal(said.toString(), WRITING);
    await new Promise((resolve) => {
      setTimeout(resolve, 3 + round * 4);
    });
    writer.kill("SIGKILL");
    await once(writer, "exit");
    assert.deepEqual(await store.keys(), [tag]);
    assert.ok(await fetcher().collateralFor(parseQuote(forged.quote)), "served from the disk");
  }
  assert.deepEqual(problems, []);
  for (const name of readdirSync(folder)) utimesSync(join(folder, name), 1000, 1000);
  await store.write(tag, collateralFromJson(forged.collateral));
  assert.deepEqual(readdirSync(folder), [`${tag}.json`]);

  /** Lets a fetcher write once, to learn the file's name. */
  async function nameOf(make: typeof fetcher): Promise<string> {
    const serve = pccs(forged);
    const served = make((async (url: unknown) =>
      serve(new URL(String(url)), AbortSignal.timeout(1000))) as typeof fetch);
    await served.collateralFor(parseQuote(forged.quote));
    const [name = ""] = readdirSync(folder);
    return name.replace(/\.json$/, "");
  }
});
