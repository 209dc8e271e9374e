import { buildImage, type BuiltImage, type Flavour } from "@dstack/image/builder";
import type { Cli } from "../clients/cli.ts";
import { imageBuildFolder, REPOSITORY_ROOT } from "../local/places.ts";
import { createProgress } from "../terminal/progress.ts";
import type { ImageBuildOptions } from "./options.ts";

/** `dstack image build` */
export async function imageBuild(cli: Cli, { flavour, updateLock }: ImageBuildOptions): Promise<void> {
  const progress = createProgress(process.stderr);
  const built = await progress.phase(`image ${flavour}`, (note) =>
    buildFlavour(cli, flavour, note, updateLock === true),
  );
  cli.out.print(`${built.image.name}  ${built.osImageHash}${built.cached ? "  (unchanged)" : ""}`);
}

/** Builds one flavour, or finds it unchanged; pins that had to change are said. */
export async function buildFlavour(
  { layout, out }: Cli,
  flavour: Flavour,
  note: (text: string) => void,
  updateLock = false,
): Promise<BuiltImage> {
  const built = await buildImage({
    flavour,
    repoRoot: REPOSITORY_ROOT,
    cacheDir: imageBuildFolder(layout),
    outDir: layout.images,
    updateLock,
    onProgress: ({ phase, text, percent }) => note(`${phase}: ${text}${percent === undefined ? "" : ` ${percent} %`}`),
  });
  for (const change of built.lockChanges) out.say(`      package pin changed: ${change}`);
  return built;
}
