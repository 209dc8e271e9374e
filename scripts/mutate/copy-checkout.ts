import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { COPIED } from "./packages.ts";

/**
 * A copy of what is needed, so that nobody's checkout is ever mutated and edits during a run change
 * nothing. Installed packages are linked; recorded vectors beside the checkout are linked beside the copy.
 */
export function copyCheckout(root: string): string {
  const parent = mkdtempSync(join(tmpdir(), "dstack-mutate-"));
  const copy = join(parent, "checkout");
  for (const path of COPIED) {
    if (!existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(root, path), join(copy, path), {
      recursive: true,
      filter: (source) => !source.includes("/node_modules"),
    });
  }
  const shared = resolve(root, "../shared");
  if (existsSync(shared)) symlinkSync(shared, join(parent, "shared"));
  linkModules(root, copy);
  return copy;
}

function linkModules(root: string, copy: string): void {
  const modules = join(copy, "node_modules");
  mkdirSync(join(modules, "@dstack"), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (name !== "@dstack") symlinkSync(join(root, "node_modules", name), join(modules, name));
  }
  for (const manifest of globSync("{libs,services}/*/package.json", { cwd: copy })) {
    const { name } = JSON.parse(readFileSync(join(copy, manifest), "utf8")) as { name: string };
    symlinkSync(join(copy, dirname(manifest)), join(modules, name));
  }
}

/** Writes the instrumented sources over the originals in the copy. */
export function writeSources(copy: string, sources: ReadonlyMap<string, string>): void {
  for (const [path, content] of sources) writeFileSync(join(copy, path), content);
}
