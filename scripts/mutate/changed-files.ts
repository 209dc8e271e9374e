import { spawnSync } from "node:child_process";

export type Changed =
  | { readonly known: true; readonly files: ReadonlySet<string> }
  | { readonly known: false; readonly reason: string };

const MAIN_NAMES = ["origin/main", "main"];

/** Files that differ from where this line left main; on main itself, from the commit before. */
export function changedFiles(root: string): Changed {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync("git", args, { cwd: root, encoding: "utf8", timeout: 30_000 });
    return status === 0 ? stdout.trim() : undefined;
  };
  const head = git("rev-parse", "HEAD");
  if (head === undefined) return { known: false, reason: "this is not a git checkout" };
  const bases = MAIN_NAMES.map((name) => git("merge-base", name, "HEAD")).filter((base) => base !== undefined);
  const base = bases.find((each) => each !== head) ?? git("rev-parse", "HEAD^");
  if (base === undefined) return { known: false, reason: "no commit to compare with (a shallow clone?)" };
  const diff = git("diff", "--name-only", base);
  if (diff === undefined) return { known: false, reason: `git cannot compare with ${base}` };
  return { known: true, files: new Set(diff.split("\n").filter((file) => file !== "")) };
}
