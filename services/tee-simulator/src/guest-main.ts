import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeSecret } from "@dstack/files";
import { createLogger } from "@dstack/log";
import { SimulatorError } from "./errors.ts";
import { mountTree } from "./fuse/mount.ts";
import { mockPlatform } from "./mock-pki.ts";
import { place } from "./place.ts";
import { parseSimulatorConfig } from "./simulator-config.ts";
import { simulatedTdx } from "./simulated-tdx.ts";

const USAGE = "usage: tee-simulator --config FILE [--run-dir /run/dstack] [--no-place]";

/** Serves the simulated TEE at the production paths; ready when RUN-DIR/attestation/ready exists. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      config: { type: "string" },
      "run-dir": { type: "string", default: "/run/dstack" },
      // The tree is mounted at RUN-DIR/tee/mnt only and the kernel's own paths are left alone.
      "no-place": { type: "boolean", default: false },
    },
  });
  if (values.config === undefined) throw new SimulatorError("options-invalid", USAGE);
  const log = createLogger({ name: "tee-simulator" });
  const config = parseSimulatorConfig(await readFile(values.config, "utf8"));
  const platform = mockPlatform(config.seed);

  const scratch = join(values["run-dir"], "tee");
  const tree = join(scratch, "mnt");
  const tables = join(scratch, "acpi");
  const published = join(values["run-dir"], "attestation");
  for (const path of [scratch, published]) await mkdir(path, { recursive: true, mode: 0o700 });
  for (const path of [tree, tables]) await mkdir(path, { recursive: true, mode: 0o755 });
  await writeFile(join(tables, "CCEL"), config.ccel, { mode: 0o400 });

  const mounted = await mountTree(tree, simulatedTdx(platform, config.launch));
  if (!values["no-place"]) {
    await place(
      { source: join(tree, "report"), target: "/sys/kernel/config/tsm/report", cover: "/sys/kernel/config" },
      scratch,
    );
    await place(
      {
        source: join(tree, "measurements"),
        target: "/sys/devices/virtual/misc/tdx_guest/measurements",
        cover: "/sys/devices/virtual/misc",
      },
      scratch,
    );
    await place(
      { source: tables, target: "/sys/firmware/acpi/tables/data", cover: "/sys/firmware/acpi/tables" },
      scratch,
    );
  }
  await writeSecret(join(published, "roots.json"), `${JSON.stringify({ tdx: platform.rootPem })}\n`);
  await writeSecret(join(published, "ready"), "");
  log.warn("simulated TEE ready: its evidence proves nothing outside development");
  await mounted.done;
}

main().catch((error: unknown) => {
  process.stderr.write(`tee-simulator: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
