/**
 * The test data of the whole repository. In comes the name of a data file; out come the sets that have it: our own,
 * committed beside this file, and the recorded one (real machines, other implementations), which lies in
 * ../shared/vectors where somebody put it beside the checkout. Where it is not, its cases are not declared: no test
 * is ever skipped for want of data, and every refusal has a case in our own set.
 */
import { existsSync, globSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test, type TestContext } from "node:test";

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

type Body = (set: VectorSet, t: TestContext) => void | Promise<void>;

/**
 * A test on each set that has this file or folder: our own, always, and the recorded one where it is there.
 * @throws Error where our own set does not have it: the test would not run in a lone clone
 */
export function vectorTest(name: string, path: string, body: Body): void {
  for (const set of vectorSets(path)) test(`${name} (${set.name})`, (t) => body(set, t));
}

/** A test on what was recorded on real machines and cannot be made here; a forged twin tests the same rules. */
export function recordedTest(name: string, body: Body): void {
  const set = recordedVectors;
  if (set !== undefined) test(name, (t) => body(set, t));
}

/** The sets that have this file or folder, our own first. @throws Error where our own does not have it */
export function vectorSets(path: string): readonly VectorSet[] {
  if (!ownVectors.has(path)) throw new Error(`no ${path} among our own vectors (tests/vectors)`);
  return recordedVectors?.has(path) === true ? [ownVectors, recordedVectors] : [ownVectors];
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
