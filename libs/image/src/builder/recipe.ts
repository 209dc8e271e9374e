/** The recipe of the guest image: the data files under image/. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ImageError } from "../errors.ts";
import { parsePackageLock, type PinnedPackage } from "./package-lock.ts";

export const FLAVOURS = ["prod", "dev", "sim"] as const;
export type Flavour = (typeof FLAVOURS)[number];

const closureGroup = z.strictObject({ packages: z.array(z.string()).min(1), omit: z.array(z.string()) });
const newestGroup = z.strictObject({ newest: z.string() });
const packagesSchema = z.strictObject({
  suites: z.array(z.strictObject({ name: z.string(), archive: z.enum(["main", "security"]) })).min(1),
  groups: z.strictObject({ rootfs: closureGroup, tools: closureGroup, kernel: newestGroup, firmware: newestGroup }),
  kernelFile: z.string(),
  firmwareFile: z.string(),
});
const modulesSchema = z.strictObject({ initramfs: z.array(z.string()), rootfs: z.array(z.string()) });
const flavourSchema = z.strictObject({
  imageName: z.string(),
  isDev: z.boolean(),
  overlay: z.string().optional(),
  files: z.array(z.string()),
});
const flavoursSchema = z.strictObject({ prod: flavourSchema, dev: flavourSchema, sim: flavourSchema });

export interface Recipe {
  /** Folder `image/` of the checkout. */
  readonly dir: string;
  readonly packages: z.infer<typeof packagesSchema>;
  readonly modules: z.infer<typeof modulesSchema>;
  readonly flavours: z.infer<typeof flavoursSchema>;
  /** Lines of prune.txt without comments. */
  readonly prune: readonly string[];
  /** Undefined before the first `--update-lock`. */
  readonly pins: readonly PinnedPackage[] | undefined;
}

/** @throws ImageError `bad-recipe` or `bad-lock` */
export async function readRecipe(repoRoot: string): Promise<Recipe> {
  const dir = join(repoRoot, "image");
  const json = async <S extends z.ZodType>(name: string, schema: S): Promise<z.infer<S>> => {
    const result = schema.safeParse(JSON.parse(await readFile(join(dir, name), "utf8")));
    if (!result.success) throw new ImageError("bad-recipe", `image/${name}: ${z.prettifyError(result.error)}`);
    return result.data;
  };
  const lockText = await readFile(join(dir, "packages.lock"), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return {
    dir,
    packages: await json("packages.json", packagesSchema),
    modules: await json("kernel-modules.json", modulesSchema),
    flavours: await json("flavours.json", flavoursSchema),
    prune: (await readFile(join(dir, "prune.txt"), "utf8"))
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#")),
    pins: lockText === undefined ? undefined : parsePackageLock(lockText),
  };
}
