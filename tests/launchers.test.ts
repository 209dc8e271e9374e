import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, test } from "node:test";

const ROOT = join(import.meta.dirname, "..");
const text = (file: string): string => readFileSync(join(ROOT, file), "utf8");

// Node reads some of its own options behind the script as well: `--env-file FILE` of our command line would have it
// take NODE_OPTIONS, and so code, from that file. After `--` it leaves that alone.
describe("whoever starts Node with a script parts the script's arguments from Node's by --", () => {
  test("programs of ours", () => {
    const sources = globSync(
      ["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts", "scripts/**/*.{ts,mjs}", "bench/*.ts"],
      {
        cwd: ROOT,
      },
    ).filter((file) => !file.includes("/test/"));
    const starts = sources.flatMap((file) =>
      [...text(file).matchAll(/(\w+\([^()]*)?process\.execPath,\s*\[?[^\]]*?("--"|\.ts|\.mjs|filename|OWN_|join)/g)]
        // npm is the bootstrap's own, with arguments of its own.
        .filter(([, call]) => call?.startsWith("npm(") !== true)
        .map(([start, , first]) => ({ file, start, first })),
    );
    assert.ok(starts.length >= 7, `${starts.length} were found`);
    for (const { file, start, first } of starts) assert.equal(first, '"--"', `${file}: ${start}`);
  });

  test("the launchers and npm's scripts", () => {
    for (const launcher of ["dstack", "dstack-kms"])
      for (const line of text(launcher)
        .split("\n")
        .filter((line) => line.includes("bootstrap.mjs")))
        assert.match(line, /"\$node" -- "\$here\/scripts\/bootstrap\.mjs"/, launcher);
    const { scripts } = JSON.parse(text("package.json")) as { scripts: Record<string, string> };
    for (const [name, line] of Object.entries(scripts))
      if (line.startsWith("node")) assert.match(line, /^node -- /, name);
  });

  test("programs of the guest image that get arguments, but for one", () => {
    // Its arguments are written out here and hold none of Node's options; the line is part of a measured image.
    const exception = "image/sim/etc/dstack/boot.d/10-tee-simulator";
    const files = globSync(["image/**/*", "services/guest/init/**/*"], { cwd: ROOT, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
    const bare = files.filter((file) => /^(?!.* -- ).*\bnode\b.*\.mjs +[^>&|;\s]/m.test(text(file)));
    assert.deepEqual(bare, [exception]);
  });
});
