/** `node libs/image/src/builder/build-cli.ts [prod|dev|sim] [--update-lock] [--out DIR]`: builds one image and prints its folder. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ImageError } from "../errors.ts";
import { buildImage } from "./build-image.ts";
import { FLAVOURS, type Flavour } from "./recipe.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "update-lock": { type: "boolean" },
    out: { type: "string" },
    cache: { type: "string" },
    entry: { type: "string", multiple: true },
  },
});
const flavour = FLAVOURS.find((known): known is Flavour => known === (positionals[0] ?? "sim"));
if (flavour === undefined || positionals.length > 1) {
  process.stderr.write(`usage: build-cli.ts [${FLAVOURS.join("|")}] [--update-lock] [--out DIR] [--cache DIR]\n`);
  process.exit(2);
}
const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const started = performance.now();
try {
  const built = await buildImage({
    flavour,
    repoRoot: resolve(import.meta.dirname, "../../../.."),
    cacheDir: values.cache ?? join(cache, "image-build"),
    outDir: values.out ?? join(cache, "images"),
    updateLock: values["update-lock"] === true,
    ...(values.entry === undefined
      ? {}
      : { entries: new Map(values.entry.map((pair) => pair.split("=", 2) as [string, string])) }),
    onProgress: ({ phase, text, percent }) =>
      process.stderr.write(
        `${((performance.now() - started) / 1000).toFixed(1).padStart(6)}s ${phase}: ${text}${percent === undefined ? "" : ` ${percent}%`}\n`,
      ),
  });
  process.stdout.write(`${built.image.dir}\n${built.osImageHash}\n`);
} catch (error) {
  if (!(error instanceof ImageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
