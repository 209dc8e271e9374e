import { VERSION_TEXT, WIRE_VERSION } from "@dstack/proto/wire";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  intelTrustAnchor,
  describePolicy,
  parsePolicyText,
  trustAnchorFromPem,
  type QuotePolicy,
  type TrustAnchor,
} from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import { ImageStore } from "@dstack/image/store";
import { createLogger, outliveStrays, type Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { startHttpServer } from "@dstack/rpc";
import { downloadedImages, SeenPlatforms } from "@dstack/verify";
import { loadVerifierConfig, type VerifierConfig } from "./config.ts";
import { VerifierError } from "./errors.ts";
import { httpRoutes } from "./http-routes.ts";
import { Metrics } from "./metrics.ts";
import { verifyCertificateFile, verifyFile } from "./one-shot.ts";
import type { VerificationResponse } from "./verification-response.ts";
import { Verifier } from "./verifier.ts";

const HELP = `Verifies evidence of confidential VMs, over HTTP or once.

  dstack-verifier [-c FILE]                      POST /verify, GET /health, GET /metrics
  dstack-verifier [-c FILE] --verify FILE        a request in a file; answer to FILE.verification.json
  dstack-verifier [-c FILE] --verify-cert FILE   a certificate with evidence; answer to FILE.ratls-verification.json

  --chain FILE        with --verify-cert: certificates (PEM) of the issuers that it must lead to
  -c, --config FILE   configuration; later than /etc/dstack-verifier/ and ./dstack-verifier.toml
  -h, --help          this text
  -V, --version       version

Once: one JSON line on standard output; exit code 0 when valid, 1 when not, 2 for wrong usage.
`;

const log = createLogger({ name: "verifier", env: process.env });

try {
  process.exitCode = await main(log);
} catch (error) {
  log.error(errorChain(error));
  process.exitCode = error instanceof VerifierError && error.code === "usage" ? 2 : 1;
}

async function main(logger: Logger): Promise<number> {
  const options = readArguments();
  if (options.help === true || options.version === true) {
    process.stdout.write(options.help === true ? HELP : `dstack-verifier ${WIRE_VERSION}\n`);
    return 0;
  }
  const config = await loadVerifierConfig({ file: options.config, env: process.env, log: logger });
  const platforms = new SeenPlatforms(Date);
  const trustAnchor = await readTrustAnchor(config);
  const collateralSource = collateralOf(config, trustAnchor, logger);
  const policy = await readPolicy(config);
  const verifier = new Verifier({
    collateralSource,
    trustAnchor,
    images: downloadedImages(imageStore(config, logger)),
    ...(policy === undefined ? {} : { policy }),
    clock: Date,
    log: logger,
    platforms,
  });
  if (options.verify !== undefined) return print(await verifyFile(verifier, options.verify));
  if (options["verify-cert"] !== undefined)
    return print(
      await verifyCertificateFile(verifier, options["verify-cert"], { chainFile: options.chain, clock: Date }),
    );
  outliveStrays(logger);
  logger.info({ demands: describePolicy(policy) }, "what is demanded of every platform");
  const server = await startHttpServer({
    listen: config.listen,
    routes: httpRoutes(verifier, new Metrics(platforms, () => collateralSource.daysLeft()), logger),
    headers: { "x-app-version": VERSION_TEXT },
    requestTimeoutMs: 30_000,
    maxConnections: 512,
    log: logger,
  });
  logger.info(
    {
      address: server.address,
      pccs: config.pccsUrls.map((url) => new URL(url).host),
      root: config.tdxRootPath ?? "Intel",
    },
    "listening",
  );
  const stop = (signal: string): void => {
    logger.info({ signal }, "stopping");
    void server.close();
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
  return 0;
}

function imageStore(config: VerifierConfig, logger: Logger): ImageStore {
  return new ImageStore({
    cacheDir: config.imageCacheDir,
    downloadUrl: config.imageDownloadUrl,
    timeoutMs: config.imageDownloadTimeoutMs,
    log: logger,
  });
}

function collateralOf(config: VerifierConfig, trustAnchor: TrustAnchor, logger: Logger): CollateralFetcher {
  return new CollateralFetcher({
    endpoints: config.pccsUrls,
    trustAnchor,
    cacheFolder: join(config.imageCacheDir, "collateral"),
    onProblem: (problem) => logger.warn({ error: errorChain(problem) }, "a server of collateral or its cache failed"),
    clock: Date,
  });
}

async function readTrustAnchor({ tdxRootPath }: VerifierConfig): Promise<TrustAnchor> {
  if (tdxRootPath === undefined) return intelTrustAnchor();
  try {
    return trustAnchorFromPem(await readFile(tdxRootPath, "utf8"));
  } catch (cause) {
    throw new VerifierError(
      "config-invalid",
      `attestation.root_ca.tdx: ${tdxRootPath} cannot be read as a certificate`,
      { cause },
    );
  }
}

async function readPolicy({ policyPath }: VerifierConfig): Promise<QuotePolicy | undefined> {
  if (policyPath === undefined) return undefined;
  try {
    return parsePolicyText(await readFile(policyPath, "utf8"));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "unreadable";
    throw new VerifierError("config-invalid", `attestation.policy: ${policyPath}: ${why}`, { cause });
  }
}

function print(result: VerificationResponse): number {
  process.stdout.write(`${JSON.stringify(result)}\n`);
  return result.is_valid ? 0 : 1;
}

function readArguments() {
  const text = { type: "string" } as const;
  try {
    const { values } = parseArgs({
      options: {
        config: { ...text, short: "c" },
        verify: text,
        "verify-cert": text,
        chain: text,
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "V" },
      },
    });
    if (values.verify !== undefined && values["verify-cert"] !== undefined)
      throw new Error("--verify and --verify-cert exclude each other");
    if (values.chain !== undefined && values["verify-cert"] === undefined)
      throw new Error("--chain goes with --verify-cert");
    return values;
  } catch (cause) {
    throw new VerifierError("usage", `${cause instanceof Error ? cause.message : "bad arguments"}; see --help`);
  }
}
