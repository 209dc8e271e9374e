import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ignoreMissing } from "@dstack/errors";
import { z } from "zod";
import { readTextIfExists, removeIfExists, syncFolder } from "@dstack/files";

/** One file of a set; its path is below the set's folder. Without data it is taken away. */
export interface FileChange {
  readonly path: string;
  readonly data: Uint8Array | string | undefined;
}

const DRAFT = ".update-draft";
const READY = ".update";
const LIST = "changes.json";

const listSchema = z.object({
  version: z.literal(1),
  /** `file`: its name in the ready folder; absent where the target is taken away. */
  changes: z.array(z.object({ path: z.string().regex(/^(?!.*\.\.)[^/]/), file: z.string().optional() })),
});

/**
 * Writes all new files under hidden names, and then says at once, by the rename of one folder, that
 * they count. What fails before that has changed nothing; what is killed after it is finished by
 * `finishReplacement`, whose renames need no space on the disk.
 * @throws the system's error (ENOSPC, ...) with every old file in its place
 */
export async function prepareReplacement(folder: string, changes: readonly FileChange[]): Promise<void> {
  const draft = join(folder, DRAFT);
  try {
    await rm(draft, { recursive: true, force: true });
    await mkdir(draft, { mode: 0o700 });
    const list: z.input<typeof listSchema> = { version: 1, changes: [] };
    for (const [index, { path, data }] of changes.entries()) {
      if (data !== undefined) await writeFlushed(join(draft, String(index)), data);
      list.changes.push({ path, ...(data === undefined ? {} : { file: String(index) }) });
    }
    await writeFlushed(join(draft, LIST), JSON.stringify(list));
    await syncFolder(draft);
    await rename(draft, join(folder, READY));
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** Puts prepared files in place, as often as it takes; without any it only clears what was never ready. */
export async function finishReplacement(folder: string): Promise<void> {
  await rm(join(folder, DRAFT), { recursive: true, force: true });
  const ready = join(folder, READY);
  const text = await readTextIfExists(join(ready, LIST));
  // Without its list a ready folder is one whose files are all in place already.
  const { changes } = text === undefined ? { changes: [] } : listSchema.parse(JSON.parse(text));
  for (const { path, file } of changes) {
    const target = join(folder, path);
    if (file === undefined) await removeIfExists(target);
    else await rename(join(ready, file), target).catch(ignoreMissing); // Moved before a kill.
  }
  for (const parent of new Set(changes.map(({ path }) => dirname(join(folder, path))))) await syncFolder(parent);
  await removeIfExists(join(ready, LIST)).catch(ignoreMissing);
  await rm(ready, { recursive: true, force: true });
}

async function writeFlushed(path: string, data: Uint8Array | string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}
