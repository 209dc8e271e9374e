import { globSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDERS = "{libs/*/test,services/*/test,cli/test,contracts/test,scripts/test,tests}";
const USUAL = ["types", "layout", "lint", "unit", "image", "int", "e2e"] as const;

/** A kind of check. All but `long` are run by `npm test`, in this order. */
export type Kind = (typeof USUAL)[number] | "long";
const KINDS: readonly Kind[] = [...USUAL, "long"];

/**
 * The kinds to run, in their order: those named as arguments or, separated by commas, in DSTACK_TEST_ONLY; else all
 * usual ones.
 * @returns a text for the user where one is named that does not exist
 */
export function chooseKinds(args: readonly string[], only: string | undefined): readonly Kind[] | string {
  const wanted = args.length > 0 ? args : (only ?? "").split(",").filter((name) => name !== "");
  const unknown = wanted.filter((name) => !(KINDS as readonly string[]).includes(name));
  if (unknown.length > 0) return `there is no kind of test called ${unknown.join(", ")}; there are ${KINDS.join(", ")}`;
  return wanted.length === 0 ? USUAL : KINDS.filter((kind) => wanted.includes(kind));
}

/** The test files of a kind, sorted, with their whole paths. */
export function filesOf(kind: Kind): string[] {
  return globSync(`${FOLDERS}/**/*.test.ts`, { cwd: ROOT, exclude: ["**/node_modules/**"] })
    .filter((file) => kindOf(file) === kind)
    .sort()
    .map((file) => join(ROOT, file));
}

/** hex.test.ts and hex.prop.test.ts are unit tests, hex.int.test.ts is of kind "int", and so on. */
export function kindOf(file: string): Kind {
  const word = /\.(int|e2e|long)\.test\.ts$/.exec(file)?.[1];
  return word === undefined ? "unit" : (word as Kind);
}
