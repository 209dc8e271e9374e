/**
 * The test data of the whole repository. In comes the name of a data file; out come the sets that have it: our own,
 * committed beside this file, and the recorded one (real machines, other implementations), which lies in
 * ../shared/vectors where somebody put it beside the checkout. Where it is not, its cases are not declared: no test
 * is ever skipped for want of data, and every refusal has a case in our own set.
 */
import { existsSync, globSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

export interface VectorSet {
  /** What a test's name says of it. */
  readonly name: "own" | "recorded";
  readonly root: string;
  bytes(path: string): Uint8Array;
  text(path: string): string;
  json<T>(path: string): T;
  /** Names in a folder, sorted; none where the folder is not there. */
  names(folder: string): string[];
  /** Paths of all files below a folder, sorted. */
  files(folder: string): string[];
  has(path: string): boolean;
}

/** Made by scripts of this repository. */
export const ownVectors: VectorSet = vectorSet("own", import.meta.dirname);

/** Recorded elsewhere; undefined in a lone clone. */
export const recordedVectors: VectorSet | undefined = existing(resolve(import.meta.dirname, "../../../shared/vectors"));

/** The sets that have this file or folder, our own first; a path that neither can have fails the test file. */
export function vectorSets(path: string): readonly VectorSet[] {
  const sets = [ownVectors, recordedVectors].filter((set) => set !== undefined).filter((set) => set.has(path));
  if (!sets.includes(ownVectors)) throw new Error(`no ${path} among our own vectors (tests/vectors)`);
  return sets;
}

function existing(root: string): VectorSet | undefined {
  return existsSync(root) ? vectorSet("recorded", root) : undefined;
}

function vectorSet(name: VectorSet["name"], root: string): VectorSet {
  const text = (path: string): string => readFileSync(join(root, path), "utf8");
  return {
    name,
    root,
    text,
    bytes: (path) => new Uint8Array(readFileSync(join(root, path))),
    json: <T>(path: string) => JSON.parse(text(path)) as T,
    names: (folder) => (existsSync(join(root, folder)) ? readdirSync(join(root, folder)).toSorted() : []),
    files: (folder) =>
      globSync(`${folder}/**/*`, { cwd: root, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
        .toSorted(),
    has: (path) => existsSync(join(root, path)),
  };
}
