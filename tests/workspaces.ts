import { existsSync, globSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

export interface Workspace {
  /** Folder relative to the checkout, e.g. "libs/bytes". */
  readonly folder: string;
  readonly name: string;
  readonly kind: "lib" | "service" | "cli";
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

export interface Import {
  /** The importing file, relative to the checkout. */
  readonly file: string;
  readonly specifier: string;
}

/** All workspaces of the repository. */
export function workspaces(): Workspace[] {
  const folders = ["libs", "services"].flatMap((parent) =>
    readdirSync(join(ROOT, parent)).map((name) => `${parent}/${name}`),
  );
  return [...folders, "cli"]
    .filter((folder) => existsSync(join(ROOT, folder, "package.json")))
    .map((folder) => {
      const manifest = JSON.parse(readFileSync(join(ROOT, folder, "package.json"), "utf8")) as Partial<Workspace>;
      return {
        folder,
        name: manifest.name ?? "",
        kind: folder === "cli" ? "cli" : folder.startsWith("libs/") ? "lib" : "service",
        exports: manifest.exports ?? {},
        dependencies: manifest.dependencies ?? {},
      };
    });
}

/** What the TypeScript files under a folder (e.g. "libs/bytes/src") import, types included. */
export function importsUnder(folder: string, exclude: readonly string[] = []): Import[] {
  const path = join(ROOT, folder);
  if (!existsSync(path) || !statSync(path).isDirectory()) return [];
  return globSync("**/*.ts", { cwd: path, exclude }).flatMap((file) => importsOf(join(folder, file)));
}

/** What one file imports, exports from, or loads dynamically by a literal name. */
export function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  const statement =
    /^\s*(?:import|export)\s(?:[^"'`;]*?\sfrom\s+)?["']([^"']+)["']|^\s*\}\s*from\s+["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;
  return [...text.matchAll(statement)].map((match) => ({ file, specifier: match[1] ?? match[2] ?? match[3] ?? "" }));
}

/** The file, relative to the checkout, that a relative import means. */
export function targetOf({ file, specifier }: Import): string {
  return relative(ROOT, resolve(ROOT, dirname(file), specifier))
    .split(sep)
    .join("/");
}

/** "@dstack/attest/node" -> ["@dstack/attest", "./node"], "semver/functions/valid.js" -> ["semver", "./functions/valid.js"]. */
export function splitSpecifier(specifier: string): [name: string, subpath: string] {
  const parts = specifier.split("/");
  const length = specifier.startsWith("@") ? 2 : 1;
  const rest = parts.slice(length).join("/");
  return [parts.slice(0, length).join("/"), rest === "" ? "." : `./${rest}`];
}
