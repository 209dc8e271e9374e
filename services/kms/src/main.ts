import { WIRE_VERSION } from "@dstack/proto/wire";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { warnOf } from "@dstack/config";
import { createLogger, outliveStrays, type Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";

import { checkConfig, printCheck } from "./config/check-config.ts";
import { loadKmsConfig } from "./config/kms-config.ts";
import { KMS_ERRORS, KmsError } from "./errors.ts";
import { issueDevelopmentCertificate } from "./issue-development-certificate.ts";
import { markReleasedFolder } from "./mark-released-folder.ts";
import { startKms } from "./kms.ts";

const HELP = `Usage:
  dstack-kms [-c FILE]
  dstack-kms check [-c FILE] [-o json]
  dstack-kms issue-development-certificate -c FILE --app-id HEX --domain NAME[,NAME] --public-key-file FILE --out FILE
  dstack-kms mark-key-folder production|development -c FILE

check says what is insecure in a configuration and why; exit code 3 where something is.
mark-key-folder says once what the keys of an older release's folder are for.

Options:
  -c, --config FILE   configuration (TOML, or JSON)
  -o, --output FORMAT text or json (check)
  -h, --help          this text
  -V, --version       version
`;

const log = createLogger({ name: "kms", env: process.env });

try {
  await main(log);
} catch (error) {
  const stopped = error instanceof KmsError && error.code === "stopped";
  const next = error instanceof KmsError ? { next: KMS_ERRORS[error.code].next } : {};
  log[stopped ? "info" : "error"](next, errorChain(error));
  process.exitCode = stopped ? 0 : error instanceof KmsError && error.code === "usage" ? 2 : 1;
}

async function main(logger: Logger): Promise<void> {
  const { values, positionals } = readArguments();
  if (values.help === true) return void process.stdout.write(HELP);
  if (values.version === true) return void process.stdout.write(`${WIRE_VERSION}\n`);
  const [command, ...more] = positionals;
  if (command === "check" && more.length === 0) {
    const output = values.output ?? "text";
    if (output !== "text" && output !== "json")
      throw new KmsError("usage", `--output: expected text or json, got "${output}"`);
    const check = await checkConfig(values.config, process.env);
    process.stdout.write(output === "json" ? `${JSON.stringify(check)}\n` : printCheck(check));
    if (check.findings.some(({ kind }) => kind === "insecure")) process.exitCode = 3;
    return;
  }
  const loaded = await loadKmsConfig({ file: values.config, env: process.env });
  warnOf(logger, loaded);
  const { config } = loaded;
  if (command === "issue-development-certificate" && more.length === 0) {
    return issueDevelopmentCertificate({
      keyFolder: config.keyFolder,
      appId: required(values["app-id"], "--app-id"),
      domains: required(values.domain, "--domain").split(","),
      publicKeyFile: required(values["public-key-file"], "--public-key-file"),
      outFile: required(values.out, "--out"),
      now: Math.floor(Date.now() / 1000),
    });
  }
  if (command === "mark-key-folder" && more.length <= 1) {
    const environment = await markReleasedFolder(config, more[0]);
    return logger.info({ keyFolder: config.keyFolder, environment }, "key folder marked");
  }
  if (command !== undefined) throw new KmsError("usage", `unknown command "${command}"; see --help`);
  outliveStrays(logger);
  const stopping = new AbortController();
  const stop = (signal: string): void => {
    logger.info({ signal }, "stopping");
    stopping.abort(new Error(signal));
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
  const kms = await startKms({
    config,
    version: WIRE_VERSION,
    clock: Date,
    log: logger,
    print: (line) => process.stdout.write(`${line}\n`),
    signal: stopping.signal,
  });
  if (!stopping.signal.aborted) await once(stopping.signal, "abort");
  await kms.close();
}

function readArguments() {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        config: { ...text, short: "c" },
        output: { ...text, short: "o" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "V" },
        "app-id": text,
        domain: text,
        "public-key-file": text,
        out: text,
      },
    });
  } catch (cause) {
    throw new KmsError("usage", `${cause instanceof Error ? cause.message : "bad arguments"}; see --help`);
  }
}

function required(value: string | undefined, name: string): string {
  if (value === undefined || value === "") throw new KmsError("usage", `${name} is missing; see --help`);
  return value;
}
