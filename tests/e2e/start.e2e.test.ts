import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { COMMAND_LINE } from "@dstack/cli/testing";
import { run } from "@dstack/process";
import { cannotBoot, runCli } from "./deployment.ts";

const skip = cannotBoot() ?? false;

/** Command lines of live processes that name the folder. */
async function processesOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const line = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
    if (line.includes(folder)) found.push(line);
  }
  return found;
}

test(
  "the demo comes up after everything of an earlier run was killed, is verified, and leaves nothing behind",
  { skip },
  async (t) => {
    const state = await mkdtemp(join(tmpdir(), "dstack-start-"));
    const env = { ...process.env, XDG_STATE_HOME: state, DSTACK_PORT_BASE: "24100" };
    t.after(async () => {
      await runCli(["down"], env);
      await rm(state, { recursive: true, force: true });
    });
    const killed = spawn(process.execPath, ["--", COMMAND_LINE, "up", "--once"], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let talk = "";
    killed.stderr.on("data", (chunk: Buffer) => (talk += chunk.toString()));
    const deadline = Date.now() + 120_000;
    while (!/ {2}… +boot/.test(talk)) {
      assert.ok(Date.now() < deadline && killed.exitCode === null, talk);
      await sleep(200);
    }
    await sleep(3_000);
    killed.kill("SIGKILL");
    assert.ok((await processesOf(`${state}/`)).length > 3, "the services outlive the killed command");

    const { code, stdout, stderr } = await runCli(["up", "--once"], env);
    assert.equal(code, 0, stderr);
    const summary = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as {
      ok: boolean;
      url: string;
      app_id: string;
      checks: { name: string; result: string }[];
      phases_ms: Record<string, number>;
    };
    assert.equal(summary.ok, true);
    assert.match(summary.url, new RegExp(`^https://${summary.app_id}\\.dstack\\.localhost:`));
    assert.ok(summary.checks.length > 20 && summary.checks.every(({ result }) => result !== "fail"));
    for (const phase of ["boot", "answer", "verify", "take down"])
      assert.ok((summary.phases_ms[phase] ?? -1) >= 0, phase);

    assert.deepEqual(await processesOf(`${state}/`), []);
    const { stdout: links } = await run("ip", ["-o", "link", "show"]);
    assert.ok(!links.includes("dstack-gw24105"), links);
    assert.ok(!(await readFile("/proc/mounts", "utf8")).includes(state));
  },
);
