/**
 * The mock platform's provisioning service, on a host.
 * In: the seed, the address to listen at.
 * Out: collateral for the mock platform's quotes, and its root certificate.
 * Never: the seed or a key derived from it, in an answer or in the log.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { parseListen } from "@dstack/config";
import { writeFileAtomic } from "@dstack/files";
import { createLogger } from "@dstack/log";
import { SimulatorError } from "./errors.ts";
import { parseSeed } from "./mock-key.ts";
import { startMockPccs } from "./mock-pccs.ts";
import { mockPki } from "./mock-pki.ts";

const DEFAULT_PORT = 8088;
const USAGE = "usage: pccs-main.ts --seed-file FILE [--listen 127.0.0.1:8088] [--root-out FILE]";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      "seed-file": { type: "string" },
      listen: { type: "string", default: `127.0.0.1:${DEFAULT_PORT}` },
      "root-out": { type: "string" },
    },
  });
  if (values["seed-file"] === undefined) throw new SimulatorError("options-invalid", USAGE);
  const listening = parseListen(values.listen, DEFAULT_PORT);
  if ("path" in listening)
    throw new SimulatorError("options-invalid", `--listen ${values.listen}: expected ADDRESS:PORT`);
  const log = createLogger({ name: "mock-pccs", env: process.env });
  const pki = mockPki(parseSeed(await readFile(values["seed-file"], "utf8")));
  if (values["root-out"] !== undefined) await writeFileAtomic(values["root-out"], pki.rootPem, { mode: 0o644 });
  const server = await startMockPccs({ pki, ...listening, log, clock: Date });
  log.info({ address: server.address }, "mock collateral server ready; its root is for development only");
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "mock collateral server ends");
      server.close().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`mock-pccs: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
