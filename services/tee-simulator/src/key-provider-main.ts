/**
 * The local key provider in software, on a host: for development alone, its evidence is good under the development
 * root and nowhere else.
 * In: the seed of that root, a file for the sealing key, the address to listen at.
 * Out: sealed keys for trust domains of the simulated machine.
 * Never: the seed, the sealing key or a key derived from them in the log.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { parseHexOfLength, toHex } from "@dstack/bytes";
import { parseListen } from "@dstack/config";
import { errorChain } from "@dstack/errors";
import { lockFile, readTextIfExists, writeSecret } from "@dstack/files";
import { createLogger } from "@dstack/log";
import { SimulatorError } from "./errors.ts";
import { parseSeed } from "./mock-key.ts";
import { mockPki } from "./mock-pki.ts";
import { startSoftwareKeyProvider, SOFTWARE_ENCLAVE } from "./software-key-provider.ts";

const DEFAULT_PORT = 3443;
const USAGE =
  "usage: key-provider-main.ts --seed-file FILE --sealing-key-file FILE [--qe-id HEX] [--listen 127.0.0.1:3443]";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      "seed-file": { type: "string" },
      "sealing-key-file": { type: "string" },
      "qe-id": { type: "string", default: "00".repeat(16) },
      listen: { type: "string", default: `127.0.0.1:${DEFAULT_PORT}` },
    },
  });
  const { "seed-file": seedFile, "sealing-key-file": sealingKeyFile } = values;
  if (seedFile === undefined || sealingKeyFile === undefined) throw new SimulatorError("options-invalid", USAGE);
  const listening = parseListen(values.listen, DEFAULT_PORT);
  if ("path" in listening)
    throw new SimulatorError("options-invalid", `--listen ${values.listen}: expected ADDRESS:PORT`);
  const log = createLogger({ name: "key-provider", env: process.env });
  const server = await startSoftwareKeyProvider({
    pki: mockPki(parseSeed(await readFile(seedFile, "utf8"))),
    sealingKey: await sealingKeyOf(sealingKeyFile),
    qeId: parseHexOfLength(values["qe-id"], 16, "--qe-id"),
    ...listening,
    log,
    clock: Date,
  });
  log.info(
    { address: server.address(), mr_enclave: toHex(SOFTWARE_ENCLAVE.mrEnclave) },
    "software key provider ready; its keys are for development only",
  );
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "software key provider ends");
      server.close(() => process.exit(0));
    });
  }
}

/** The key in the file, 64 hex digits; made at the first start. A damaged one is refused: another key opens no disk. */
async function sealingKeyOf(path: string): Promise<Uint8Array> {
  const lock = await lockFile(`${path}.lock`);
  try {
    const text = await readTextIfExists(path);
    if (text !== undefined) return parseHexOfLength(text.trim(), 32, `sealing key in ${path}`);
    const key = new Uint8Array(randomBytes(32));
    await writeSecret(path, `${toHex(key)}\n`);
    return key;
  } finally {
    await lock.release();
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`key-provider: ${errorChain(error)}\n`);
  process.exit(1);
});
