/**
 * A service as one file, for a container image that holds Node and nothing else of this repository:
 * npm run bundle -- kms FOLDER. Node then strips no types and keeps no source twice, which is most of what a service
 * takes at start (`npm run bench -- kms`), and the image has no npm packages. Equal sources give equal bytes.
 */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { bundleProgram } from "@dstack/image/builder";

const ROOT = join(import.meta.dirname, "..");

/** What a service reads beside its program while it runs. */
const SERVICES: Readonly<Record<string, readonly string[]>> = {
  "auth-eth": [],
  "auth-simple": [],
  gateway: [],
  kms: ["src/setup/page"],
  verifier: [],
};

const [name = "", folder, ...more] = process.argv.slice(2);
const beside = SERVICES[name];
if (beside === undefined || folder === undefined || more.length > 0) {
  process.stderr.write(`usage: npm run bundle -- SERVICE FOLDER\n  services: ${Object.keys(SERVICES).join(", ")}\n`);
  process.exitCode = 2;
} else {
  const out = resolve(folder);
  await mkdir(out, { recursive: true });
  const program = join(out, `dstack-${name}.mjs`);
  await writeFile(program, await bundleProgram(ROOT, `services/${name}/src/main.ts`));
  for (const path of beside)
    await cp(join(ROOT, "services", name, path), join(out, path.slice(path.lastIndexOf("/") + 1)), { recursive: true });
  process.stdout.write(`${program}\n`);
}
