import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { anvilPath } from "../../libs/governance/test/anvil.ts";
import { cannotBoot, runCli } from "./deployment.ts";

const ROOT = join(import.meta.dirname, "../..");
const skip = cannotBoot() ?? (anvilPath() === undefined ? "no anvil for this machine" : false);

/** The lines of the walk-through, as people type them. */
function walkThrough(): string {
  const page = readFileSync(join(ROOT, "docs/governance.md"), "utf8");
  const section = /^## From nothing to an app that a contract governs$([\s\S]*?)^## /m.exec(page)?.[1] ?? "";
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block]) => block).join("\n");
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

test(
  "docs/governance.md leads from nothing to an app that boots because a contract allows it (word for word)",
  { skip, timeout: 900_000 },
  async (t) => {
    const script = walkThrough();
    assert.equal(script.match(/\.\/dstack deploy/g)?.length, 3);
    const state = await mkdtemp(join(tmpdir(), "dstack-governance-"));
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      XDG_STATE_HOME: state,
      TMPDIR: state,
      DSTACK_PORT_BASE: "26100",
      CHAIN_PORT: String(await freePort()),
      AUTH_PORT: String(await freePort()),
    };
    // Nothing of the shell that runs the tests decides.
    for (const name of ["PRIVATE_KEY", "KMS_CONTRACT_ADDR", "KMS_CONTRACT_ADDRESS", "ETH_CHAIN_ID", "RPC_URL"])
      delete env[name];
    const child = spawn("bash", ["-euo", "pipefail", "-c", `exec 2>&1\n${script}`], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "inherit"],
      detached: true,
    });
    t.after(async () => {
      killGroup(child.pid);
      await runCli(["down"], env);
      await rm(state, { recursive: true, force: true });
    });
    let output = "";
    // One stream, so that what is said keeps its order.
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const closed = once(child, "close");
    const [code] = (await once(child, "exit")) as [number | null];
    // What a failed script left running would hold the stream open.
    killGroup(child.pid);
    await closed;
    if (process.env["DSTACK_E2E_SHOW"] === "1") process.stderr.write(output);
    assert.equal(code, 0, output);

    // What the page says happens at each step, in this order.
    const milestones = [
      /behaviours hold/,
      /^\+ gatewayAppId 0x[0-9a-f]{40}$/m,
      /this version may not boot: OS image is not allowed \(rule DstackKms 0x[0-9a-fA-F]{40}: allowedOsImages, field osImageHash\)\n.*nothing was deployed; to allow it: dstack auth allow os-image 0x[0-9a-f]{64} --contract 0x[0-9a-fA-F]{40} --rpc http:.*\nexit code 3/,
      /^\+ osImages 0x[0-9a-f]{64}$/m,
      /the policy was not asked/,
      /the boot of web was refused: .*Compose hash not allowed/,
      /exit code 3/,
      /^decision +denied: Compose hash not allowed$/m,
      /^to allow +dstack auth allow compose 0x[0-9a-f]{64} --app 0x[0-9a-f]{40} --contract/m,
      /would allow .* gas/,
      /nothing was sent/,
      /^\+ apps\.0x[0-9a-f]{40}\.composeHashes 0x[0-9a-f]{64}$/m,
      /^decision +allowed$/m,
      /allowed to boot by the policy as it is now/,
      /^url +https:/m,
      /ComposeHashAdded/,
      /stopped; data is kept/,
    ];
    let rest = output;
    for (const milestone of milestones) {
      const found = milestone.exec(rest);
      assert.ok(found !== null, `${String(milestone)} is missing, or out of order, in:\n${output}`);
      rest = rest.slice(found.index + found[0].length);
    }
  },
);
