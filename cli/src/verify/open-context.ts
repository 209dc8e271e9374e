import { join } from "node:path";
import { PUBLIC_COLLATERAL_SERVERS, collateralFromJson } from "@dstack/attest";
import { CollateralFetcher, fixedCollateral } from "@dstack/attest/node";
import { ImageStore } from "@dstack/image/store";
import { createLogger } from "@dstack/log";
import { downloadedImages, EVIDENCE_REQUIRED, firstOf, imageIn, imagesBelow, type OsImageSource } from "@dstack/verify";
import type { Cli } from "../clients/cli.ts";
import type { StackLayout } from "../local/layout.ts";
import { verifiedImageFolder } from "../local/places.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { bundledCollateral, bundledImages, CollateralRecorder, type Bundle } from "./bundle.ts";
import { collateralCacheFolder, collateralPinFolder } from "../local/collateral-folders.ts";
import type { ImageInput, VerifyContext } from "./context.ts";
import type { VerifyOptions } from "./options.ts";
import { readAnchor, readJson, readPolicy, readTime } from "../evidence/inputs.ts";

/** What says how to judge: the time, whom to trust, which collateral, demands and images. */
export type ContextOptions = {
  readonly [Name in "time" | "root" | "pccs" | "collateral" | "policy" | "imageDir" | "imageUrl" | "accept"]?:
    | VerifyOptions[Name]
    | undefined;
};

export interface OpenContext {
  readonly context: VerifyContext;
  readonly recorder: CollateralRecorder;
  /** Filled while evidence is judged. */
  readonly imageInputs: readonly ImageInput[];
  /** Filled likewise: until when each piece of evidence holds, Unix seconds. */
  readonly ends: readonly number[];
  /** Where the images of these may lie. */
  readonly imageFolders: readonly string[];
}

const PUBLIC_IMAGES = "https://download.dstack.org/os-images/mr_{OS_IMAGE_HASH}.tar.gz";
const DOWNLOAD_TIMEOUT_MS = 300_000;

/**
 * What to judge with.
 * @param bundle judge with what it holds and fetch nothing, but for what the options name
 * @param local the deployment on this machine: its root of trust, collateral and images
 */
export async function openContext(
  { layout, env, out }: Cli,
  options: ContextOptions,
  where: { readonly bundle?: Bundle; readonly local: boolean },
): Promise<OpenContext> {
  const { bundle, local } = where;
  const rootFile = options.root ?? (local ? layout.teeRoot : undefined);
  const trustAnchor = await readAnchor(rootFile);
  const now = readTime(options.time);
  const fetcher = (): CollateralFetcher =>
    new CollateralFetcher({
      endpoints: collateralServers(layout, env, local, options.pccs),
      trustAnchor,
      cacheFolder: collateralCacheFolder(env),
      pinFolder: collateralPinFolder(env),
      onProblem: ({ message }) => out.say(`collateral: ${message}`),
      ...(options.time === undefined ? {} : { clock: { now: () => now * 1000 } }),
    });
  const recorder = new CollateralRecorder(
    options.collateral !== undefined
      ? fixedCollateral(collateralFromJson(await readJson(options.collateral)))
      : bundle !== undefined && (options.pccs ?? []).length === 0
        ? bundledCollateral(bundle)
        : fetcher(),
  );
  const downloads = verifiedImageFolder(layout);
  const downloadUrl = options.imageUrl ?? (bundle === undefined && !local ? PUBLIC_IMAGES : undefined);
  const sources: OsImageSource[] = [
    ...(options.imageDir === undefined ? [] : [imageIn(options.imageDir)]),
    ...(bundle === undefined ? [] : [bundledImages(bundle)]),
    imagesBelow(layout.images),
    ...(downloadUrl === undefined
      ? []
      : [
          downloadedImages(
            new ImageStore({
              cacheDir: downloads,
              downloadUrl,
              timeoutMs: DOWNLOAD_TIMEOUT_MS,
              log: createLogger({ name: "verify", env, level: "warn" }),
            }),
          ),
        ]),
  ];
  const imageInputs: ImageInput[] = [];
  const ends: number[] = [];
  return {
    context: {
      now,
      trustAnchor,
      rootFile,
      collateralSource: recorder,
      images: firstOf(...sources),
      policy: await readPolicy(options.policy),
      accept: knownChecks(options.accept ?? []),
      onImage: (input) => imageInputs.push(input),
      onGoodUntil: (end) => ends.push(end),
    },
    recorder,
    imageInputs,
    ends,
    imageFolders: [
      ...(options.imageDir === undefined ? [] : [options.imageDir]),
      layout.images,
      join(downloads, "images"),
    ],
  };
}

/** Where collateral is asked for, in this order. */
export function collateralServers(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  local: boolean,
  given: readonly string[] = [],
): readonly string[] {
  if (given.length > 0) return given;
  if (env["PCCS_URL"] !== undefined) return [env["PCCS_URL"]];
  return local ? [`http://127.0.0.1:${layout.ports.pccs}`] : PUBLIC_COLLATERAL_SERVERS;
}

/** Whether a URL is of the deployment on this machine, whose parts are known to run outside a TEE. */
export function isLocal(layout: StackLayout, url: URL): boolean {
  const loopback = url.hostname === "127.0.0.1" || url.hostname === "localhost";
  return (
    url.hostname.endsWith(".dstack.localhost") || (loopback && Object.values(layout.ports).includes(Number(url.port)))
  );
}

/** Checks that some verdict needs, and that can be not bound. */
const ACCEPTABLE = [
  ...EVIDENCE_REQUIRED,
  "report-data",
  "tcb",
  "compose-hash",
  "tls-key",
  "kms-certificate",
  "root-ca",
  "root-keys",
  "served-key",
];

/** @throws CliError `usage` for a name that no verdict needs: to accept it would change nothing, without a word */
function knownChecks(names: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !ACCEPTABLE.includes(name));
  if (unknown !== undefined)
    throw new CliError("usage", `--accept ${visible(unknown)}: no verdict needs such a check`, {
      hint: `those that can be taken upon oneself: ${[...new Set(ACCEPTABLE)].join(", ")}`,
    });
  return names;
}
