/**
 * Runs the unit and property tests below a folder again whenever a file that they import changes:
 * npm run watch -- libs/bytes (default: all).
 */
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { filesOf, ROOT } from "./test-kinds.ts";
import { resolve } from "node:path";

const folder = resolve(ROOT, process.argv[2] ?? ".");
const files = filesOf("unit").filter((file) => file.startsWith(`${folder}/`));
if (files.length === 0) {
  process.stderr.write(`there are no unit tests below ${folder}\n`);
  process.exit(2);
}
run({ files, cwd: ROOT, watch: true, concurrency: 2 }).compose(spec).pipe(process.stdout);
