import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { importsUnder, targetOf, workspaces, type Import } from "./workspaces.ts";

/**
 * The rooms of a package from the ground up: folders of its src, and files that lie beside them. A
 * room imports only from itself and from those before it.
 */
const FLOORS: Readonly<Record<string, string>> = {
  cli: "terminal local clients evidence images measure auth kms apps collateral verify tcb stack main testing",
  "services/gateway":
    "errors version config registration identity wireguard proxy metrics node-info open-gateway recycle " +
    "start-proxy rpc gateway main",
  "services/guest": "errors system host identity keys disk gateway app agent boot shutdown main",
  "services/kms":
    "errors status with-context certificates keys image metrics release self config kms-parts open-kms " +
    "rate-limit onboard backup kms-service http setup mark-released-folder kms issue-development-certificate main",
  "services/vmm": "errors logs config supervisor vm launch fleet api main",
};

/** "services/guest/src/system/swap.ts" in "services/guest" -> "system", ".../src/boot.ts" -> "boot". */
const roomOf = (file: string, folder: string): string =>
  file.slice(`${folder}/src/`.length).split("/")[0]?.replace(/\.ts$/, "") ?? "";

const inside = (folder: string): Import[] =>
  importsUnder(`${folder}/src`).filter((imported) => imported.specifier.startsWith("."));

describe("rooms", () => {
  for (const [folder, names] of Object.entries(FLOORS)) {
    const floors = names.split(" ");
    test(`of ${folder} import none above them`, () => {
      const floor = (file: string): number => {
        const found = floors.indexOf(roomOf(file, folder));
        assert.notEqual(found, -1, `${file} lies in no room that FLOORS names`);
        return found;
      };
      const upward = inside(folder).filter((imported) => floor(targetOf(imported)) > floor(imported.file));
      assert.deepEqual(
        upward.map(({ file, specifier }) => `${file} imports ${specifier}`),
        [],
      );
    });
  }
});

/** Asserts that no file leads back to itself. */
function assertNoCircle(imports: readonly Import[]): void {
  const byFile = Map.groupBy(imports, ({ file }) => file);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.equal(path.includes(file), false, `a circle: ${[...path, file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const imported of byFile.get(file) ?? []) visit(targetOf(imported), [...path, file]);
    done.add(file);
  };
  for (const file of byFile.keys()) visit(file, []);
}

test("what lies beside the command line uses it through its entry, not by its files", () => {
  const deep = ["tests", "bench", "scripts"]
    .flatMap((folder) => importsUnder(folder))
    .filter((imported) => imported.specifier.startsWith(".") && targetOf(imported).startsWith("cli/"));
  assert.deepEqual(
    deep.map(({ file, specifier }) => `${file} imports ${specifier}`),
    [],
  );
});

describe("the files of a package", () => {
  for (const { folder } of workspaces())
    test(`form no circle of imports in ${folder}`, () => assertNoCircle(inside(folder)));
});

test("nor do tests, scripts and benchmarks, which reach into each other's packages", () => {
  const folders = [...workspaces().map(({ folder }) => folder), "contracts", "scripts", "tests", "bench"];
  const all = folders.flatMap((folder) => importsUnder(folder, ["**/node_modules/**", "**/gen/**"]));
  assertNoCircle(all.filter(({ specifier }) => specifier.startsWith(".")));
});
