/**
 * The package indices that apt has fetched and verified: Debian's control format, one
 * stanza per package, stanzas separated by an empty line (Debian Policy 5.1, 5.6).
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** One package as the mirror offers it now. `file` is the path below the mirror's base. */
export interface AvailablePackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly file: string;
}

export interface PackagesIndex {
  find(name: string, version: string): AvailablePackage | undefined;
  /** All packages whose name matches, in the order of the indices. */
  matching(pattern: RegExp): AvailablePackage[];
}

/** Reads every `*_Packages` file of an apt lists folder. */
export async function readPackagesIndex(listsDir: string): Promise<PackagesIndex> {
  const byKey = new Map<string, AvailablePackage>();
  for (const name of (await readdir(listsDir)).filter((name) => name.endsWith("_Packages")).sort()) {
    for (const item of parsePackages(await readFile(join(listsDir, name), "utf8")))
      byKey.set(`${item.name}=${item.version}`, item);
  }
  return {
    find: (name, version) => byKey.get(`${name}=${version}`),
    matching: (pattern) => [...byKey.values()].filter((item) => pattern.test(item.name)),
  };
}

/** Stanzas without one of the needed fields are left out: they cannot be pinned. */
export function parsePackages(text: string): AvailablePackage[] {
  const found: AvailablePackage[] = [];
  for (const stanza of text.split("\n\n")) {
    const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(stanza)?.[1];
    const [name, version, sha256, size, file] = [
      field("Package"),
      field("Version"),
      field("SHA256"),
      field("Size"),
      field("Filename"),
    ];
    if (name === undefined || version === undefined || sha256 === undefined || size === undefined || file === undefined)
      continue;
    found.push({ name, version, sha256, sizeBytes: Number(size), file });
  }
  return found;
}
