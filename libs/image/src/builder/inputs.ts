/** What an image is made of, as one hash: the lock, the recipe, the init scripts, the bundles, the runtime, the builder itself. */
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, stat } from "node:fs/promises";
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

/** Regular files at or below a path, sorted. Links are not followed. */
export async function filesBelow(path: string): Promise<string[]> {
  if ((await lstat(path)).isFile()) return [path];
  return (await walk(path)).filter(({ kind }) => kind === "file").map((entry) => entry.path);
}

export interface TreeEntry {
  readonly path: string;
  readonly kind: "file" | "directory" | "link" | "other";
}

/** Everything below a folder, sorted. Links are not followed: an unpacked root has links that point into the host's own root. */
export async function walk(dir: string): Promise<TreeEntry[]> {
  const found: TreeEntry[] = [];
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    const kind = entry.isSymbolicLink()
      ? "link"
      : entry.isDirectory()
        ? "directory"
        : entry.isFile()
          ? "file"
          : "other";
    found.push({ path, kind });
    if (kind === "directory") found.push(...(await walk(path)));
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
