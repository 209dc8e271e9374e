/**
 * The simulated TEE inside a guest of the sim flavour.
 * In: seed, launch measurements and the firmware's log, from the host share.
 * Out: quotes, registers and the log at the very paths where a TDX guest's kernel has them; a file that says ready.
 * Never: evidence that verifies under any root but the mock's own; a place in an image that is not for development.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeSecret } from "@dstack/files";
import { createLogger } from "@dstack/log";
import { SimulatorError } from "./errors.ts";
import { mountTree } from "./fuse/mount.ts";
import { mockPlatform } from "./mock-pki.ts";
import { place, type Placement } from "./place.ts";
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
  const log = createLogger({ name: "tee-simulator", env: process.env });
  const config = parseSimulatorConfig(await readFile(values.config, "utf8"));
  const platform = mockPlatform(config.seed);

  const runFolder = values["run-dir"];
  const scratch = join(runFolder, "tee");
  const tree = join(scratch, "mnt");
  const tables = join(scratch, "acpi");
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  for (const path of [tree, tables]) await mkdir(path, { recursive: true, mode: 0o755 });
  await writeFile(join(tables, "CCEL"), config.ccel, { mode: 0o400 });

  const mounted = await mountTree(tree, simulatedTdx(platform, config.launch));
  if (!values["no-place"]) for (const placement of kernelPlaces(tree, tables)) await place(placement, scratch);
  await publish(join(runFolder, "attestation"), platform.rootPem);
  log.warn("simulated TEE ready: its evidence proves nothing outside development");
  await mounted.done;
}

/** Where a TDX guest's kernel shows quotes, registers and the firmware's tables. */
const kernelPlaces = (tree: string, tables: string): readonly Placement[] => [
  { source: join(tree, "report"), target: "/sys/kernel/config/tsm/report", cover: "/sys/kernel/config" },
  {
    source: join(tree, "measurements"),
    target: "/sys/devices/virtual/misc/tdx_guest/measurements",
    cover: "/sys/devices/virtual/misc",
  },
  { source: tables, target: "/sys/firmware/acpi/tables/data", cover: "/sys/firmware/acpi/tables" },
];

/** The root that the guest may trust, then word that all is there. */
async function publish(folder: string, rootPem: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeSecret(join(folder, "roots.json"), `${JSON.stringify({ tdx: rootPem })}\n`);
  await writeSecret(join(folder, "ready"), "");
}

main().catch((error: unknown) => {
  process.stderr.write(`tee-simulator: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
