/**
 * Evidence bundles: what was fetched, Intel's documents about the platforms, and what the OS images are
 * measured from. A bundle proves nothing by itself; it is judged like what was just fetched.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { z } from "zod";
import { AttestError, collateralFromJson, collateralToJson, type Quote, type QuoteCollateral } from "@dstack/attest";
import { collateralKey, platformOf, type CollateralSource } from "@dstack/attest/node";
import { toHex, type Hash32 } from "@dstack/bytes";
import { writeFileAtomic } from "@dstack/files";
import { extractMrBundle, ImageError } from "@dstack/image";
import { readStoredImage } from "@dstack/image/store";
import type { FoundImage, OsImageSource } from "@dstack/verify";
import { CliError } from "../terminal/errors.ts";
import { Subject } from "./subject.ts";

const FORMAT = "dstack-evidence-bundle";
const VERSION = 1;

/** What an image is measured from: its document where that suffices, else its files as verifiers download them. */
const BundledImage = z.union([
  z.strictObject({ checksum_file: z.base64(), measurement: z.base64() }),
  z.strictObject({ files_tar_gz: z.base64() }),
]);

const schema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  /** RFC 3339; when the evidence was fetched, as its maker says. */
  fetched_at: z.iso.datetime(),
  subject: Subject,
  /** The exchange form, by platform. */
  collateral: z.record(z.string().max(200), z.record(z.string(), z.string())),
  /** By OS image hash. */
  images: z.record(z.string().regex(/^[0-9a-f]{64}$/), BundledImage),
});

export type Bundle = z.infer<typeof schema>;
export type BundledImage = z.infer<typeof BundledImage>;

export const isBundle = (value: unknown): boolean =>
  typeof value === "object" && value !== null && (value as { format?: unknown }).format === FORMAT;

/** @throws CliError `failed` naming what is wrong */
export function readBundle(value: unknown, file: string): Bundle {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new CliError("failed", `${file} is not a bundle that this version reads: ${z.prettifyError(parsed.error)}`);
}

export async function writeBundle(file: string, parts: Omit<Bundle, "format" | "version">): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify({ format: FORMAT, version: VERSION, ...parts }, null, 1)}\n`, {
    mode: 0o644,
  });
}

/** Remembers what another source gives, for a bundle. */
export class CollateralRecorder implements CollateralSource {
  readonly #source: CollateralSource;
  readonly #seen = new Map<string, QuoteCollateral>();

  constructor(source: CollateralSource) {
    this.#source = source;
  }

  async collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral> {
    const collateral = await this.#source.collateralFor(quote, signal);
    this.#seen.set(collateralKey(platformOf(quote)), collateral);
    return collateral;
  }

  recorded(): Bundle["collateral"] {
    return Object.fromEntries([...this.#seen].map(([key, collateral]) => [key, collateralToJson(collateral)]));
  }
}

/** Only what the bundle holds; nothing is fetched. */
export function bundledCollateral({ collateral }: Bundle): CollateralSource {
  return {
    collateralFor: (quote) => {
      const key = collateralKey(platformOf(quote));
      const found = Object.hasOwn(collateral, key) ? collateral[key] : undefined;
      return found === undefined
        ? Promise.reject(new AttestError("collateral-unavailable", `the bundle holds no collateral for ${key}`))
        : Promise.resolve(collateralFromJson(found));
    },
  };
}

/** Images of a bundle; its files are unpacked, hashed and measured like downloaded ones. */
export function bundledImages({ images }: Bundle): OsImageSource {
  return {
    find: async (hash) => {
      const image = images[toHex(hash)];
      if (image === undefined) return { kind: "absent", reason: "the bundle does not hold it" };
      if ("measurement" in image)
        return {
          kind: "document",
          material: { checksumFile: fromBase64(image.checksum_file), measurement: fromBase64(image.measurement) },
        };
      return unpacked(fromBase64(image.files_tar_gz), hash);
    },
  };
}

async function unpacked(archive: Uint8Array, hash: Hash32): Promise<FoundImage> {
  const folder = await mkdtemp(join(tmpdir(), "dstack-bundle-"));
  try {
    await extractMrBundle(Readable.from([archive]), folder);
    const image = await readStoredImage(folder, hash);
    switch (image.kind) {
      case "good":
        return { kind: "files", files: image.files, metadata: image.metadata };
      case "bad":
        return { kind: "wrong", reason: image.reason };
      case "absent":
        return { kind: "wrong", reason: "the bundle's copy holds no image" };
    }
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return { kind: "wrong", reason: error.message };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
