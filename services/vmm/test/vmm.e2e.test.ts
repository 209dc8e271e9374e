import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { alive, cleanUp, composeFile, startVmm, untilInfo, vmRequest } from "./vmm-process.ts";

after(cleanUp);

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const image = join(cache, "images/dstack-sim-0.6.0");
const qemu = join(cache, "qemu/current/bin");
const skip = !existsSync(join(image, "metadata.json"))
  ? "no guest image is built"
  : !existsSync(qemu)
    ? "no QEMU at hand"
    : false;

test(
  "a real guest boots, reports over its channel, logs to its console and is stopped",
  { skip, timeout: 280_000 },
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "dstack-vmm-e2e-"));
    const vmm = await startVmm(
      { dir, imageHash: "" },
      {
        imagePath: join(cache, "images"),
        qemuPath: join(qemu, "qemu-system-x86_64"),
        cvm: `kms_urls = ["https://10.0.2.2:1"]\n[cvm.tee_simulator]\nmock_attestation_seed = "${"ab".repeat(32)}"\ncollateral_base_url = "http://10.0.2.2:1"`,
      },
    );
    const { id } = await vmm.rpc<{ id: string }>(
      "CreateVm",
      vmRequest({
        image: "dstack-sim-0.6.0",
        memory: 2048,
        no_tee: false,
        simulated_tee: "dstack-tdx",
        compose_file: composeFile(),
      }),
    );
    // No KMS answers: the guest waits and says so.
    const waiting = await untilInfo(
      vmm,
      id,
      (vm) => /KMS/.test(vm.boot_progress) || vm.boot_error !== "",
      "the guest's report",
      240_000,
    );
    assert.equal(waiting.boot_error, "");
    assert.equal(waiting.status, "running");
    assert.match((await vmm.http("GET", `/logs?id=${id}`)).text, /Linux version/);
    const pid = Number(readFileSync(join(dir, `vm/${id}/qemu.pid`), "utf8"));
    await vmm.rpc("ShutdownVm", { id });
    await untilInfo(vmm, id, (vm) => vm.status === "stopped", "power off", 60_000);
    assert.equal(alive(pid), false);
    await vmm.endAll();
  },
);
