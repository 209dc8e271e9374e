/** What an image is made of, as one hash: the lock, the recipe, the init scripts, the bundles, the runtime, the builder itself. */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";

/** Lower-case hex SHA-256 of text or bytes. */
export function hashOf(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** One line per file below the folders or files given: mode bit x, SHA-256, path relative to `root`. */
export async function fileManifest(root: string, paths: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const path of paths) {
    for (const file of await filesBelow(path)) {
      const { mode } = await stat(file);
      lines.push(`${(mode & 0o111) === 0 ? "-" : "x"} ${hashOf(await readFile(file))} ${relative(root, file)}`);
    }
  }
  return `${lines.sort().join("\n")}\n`;
}

/** Regular files at or below a path, sorted. */
export async function filesBelow(path: string): Promise<string[]> {
  const info = await stat(path);
  if (info.isFile()) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort();
}
