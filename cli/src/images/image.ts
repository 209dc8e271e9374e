import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { listImages } from "@dstack/image";
import { buildImage, type BuiltImage, type Flavour } from "@dstack/image/builder";
import { print, printJson, say, table, type OutputFormat } from "../terminal/output.ts";
import { createProgress } from "../terminal/progress.ts";
import type { StackLayout } from "../local/layout.ts";

export const REPOSITORY_ROOT = join(import.meta.dirname, "../../..");

/** `dstack image build` */
export async function build(layout: StackLayout, flavour: Flavour, updateLock: boolean): Promise<void> {
  const progress = createProgress(process.stderr);
  const built = await progress.phase(`image ${flavour}`, (note) => buildFlavour(layout, flavour, note, updateLock));
  print(`${built.image.name}  ${built.osImageHash}${built.cached ? "  (unchanged)" : ""}`);
}

/** Builds one flavour, or finds it unchanged; pins that had to change are said. */
export async function buildFlavour(
  layout: StackLayout,
  flavour: Flavour,
  note: (text: string) => void,
  updateLock = false,
): Promise<BuiltImage> {
  const built = await buildImage({
    flavour,
    repoRoot: REPOSITORY_ROOT,
    cacheDir: join(layout.cache, "image-build"),
    outDir: layout.images,
    updateLock,
    onProgress: ({ phase, text, percent }) => note(`${phase}: ${text}${percent === undefined ? "" : ` ${percent} %`}`),
  });
  for (const change of built.lockChanges) say(`      package pin changed: ${change}`);
  return built;
}

/** `dstack image list` */
export async function list(layout: StackLayout, format: OutputFormat): Promise<void> {
  const images = await listImages(layout.images, (name, reason) => say(`${name} is skipped: ${reason}`));
  const rows = images.map((image) => ({
    name: image.name,
    version: image.version,
    is_dev: image.metadata.is_dev ?? false,
    os_image_hash: image.osImageHash === undefined ? null : toHex(image.osImageHash),
  }));
  if (format === "json") printJson(rows);
  else if (rows.length === 0) print("no images; build one with `dstack image build`");
  else
    print(
      table(
        ["NAME", "VERSION", "DEV", "OS IMAGE HASH"],
        rows.map((row) => [row.name, row.version, row.is_dev ? "yes" : "no", row.os_image_hash ?? "-"]),
      ),
    );
}
