import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  ROOT,
  importsOf,
  importsUnder,
  splitSpecifier,
  targetOf,
  workspaces,
  type Import,
  type Workspace,
} from "./workspaces.ts";

// Packages whose main entry stays free of files, sockets, processes and clocks of the system.
const PURE = ["@dstack/attest", "@dstack/bytes", "@dstack/compose", "@dstack/der", "@dstack/keys", "@dstack/measure"];
const ALLOWED_BUILTINS = ["node:crypto", "node:buffer", "node:util", "node:zlib"];
const SIMULATOR = "@dstack/tee-simulator";

const all = workspaces();
const byName = new Map(all.map((workspace) => [workspace.name, workspace]));
const sources = new Map(all.map((workspace) => [workspace.name, importsUnder(`${workspace.folder}/src`)]));
const tested = new Map(all.map((workspace) => [workspace.name, importsUnder(`${workspace.folder}/test`)]));

/** Lines "file imports x", one for each import of a workspace that breaks a rule. */
function offenders(
  workspace: Workspace,
  imports: ReadonlyMap<string, Import[]>,
  breaks: (imported: Import) => boolean,
): string[] {
  return (imports.get(workspace.name) ?? [])
    .filter(breaks)
    .map(({ file, specifier }) => `${file} imports ${specifier}`);
}

function kindOf(specifier: string): Workspace["kind"] | undefined {
  return byName.get(splitSpecifier(specifier)[0])?.kind;
}

describe("the import graph", () => {
  test("sees imports at all", () => {
    assert.ok([...sources.values()].flat().length > 100);
    assert.ok(importsOf("tests/import-graph.test.ts").some(({ specifier }) => specifier === "./workspaces.ts"));
  });

  for (const workspace of all) {
    test(`${workspace.folder} imports only libraries, and only through their entries`, () => {
      const wrong = offenders(workspace, sources, ({ specifier }) => {
        if (!specifier.startsWith("@dstack/")) return false;
        const [name, subpath] = splitSpecifier(specifier);
        return (
          name === workspace.name || kindOf(specifier) !== "lib" || byName.get(name)?.exports[subpath] === undefined
        );
      });
      assert.deepEqual(wrong, []);
    });

    test(`${workspace.folder} stays inside its folder with relative imports`, () => {
      const outside = (imported: Import): boolean =>
        imported.specifier.startsWith(".") && !targetOf(imported).startsWith(`${workspace.folder}/`);
      // Tests may share fixtures with other packages' tests, forge evidence and read test data.
      const outsideTests = (imported: Import): boolean =>
        outside(imported) &&
        !/^(?:(?:libs|services)\/[^/]+\/test|tests\/forge|tests\/vectors)\//.test(targetOf(imported));
      assert.deepEqual([...offenders(workspace, sources, outside), ...offenders(workspace, tested, outsideTests)], []);
    });

    test(`${workspace.folder} declares what it imports`, () => {
      const undeclared = offenders(workspace, sources, ({ specifier }) => {
        // "#" are the package's own, by its `imports`.
        if (/^(?:\.|#|node:)/.test(specifier)) return false;
        return workspace.dependencies[splitSpecifier(specifier)[0]] === undefined;
      });
      assert.deepEqual(undeclared, []);
    });
  }

  test("libraries form no cycle", () => {
    const done = new Set<string>();
    const visit = (name: string, path: readonly string[]): void => {
      assert.equal(path.includes(name), false, `a cycle: ${[...path, name].join(" -> ")}`);
      if (done.has(name)) return;
      for (const { specifier } of sources.get(name) ?? []) {
        if (specifier.startsWith("@dstack/")) visit(splitSpecifier(specifier)[0], [...path, name]);
      }
      done.add(name);
    };
    for (const { name, kind } of all) if (kind === "lib") visit(name, []);
  });

  for (const name of PURE) {
    test(`${name} is pure from its main entry down`, () => {
      const impure = reachableFrom(name, ".").filter(
        ({ specifier }) => specifier.startsWith("node:") && !ALLOWED_BUILTINS.includes(specifier),
      );
      assert.deepEqual(
        impure.map(({ file, specifier }) => `${file} imports ${specifier}`),
        [],
      );
    });
  }

  test("one file reads compose files as YAML, and the manifest's entry does not reach it", () => {
    const readers = [...sources.values()].flatMap((imports) =>
      [...imports.values()].flat().filter(({ specifier }) => specifier === "yaml" || specifier.startsWith("yaml/")),
    );
    assert.deepEqual(
      readers.map(({ file }) => file),
      ["libs/compose/src/docker/read-yaml.ts"],
    );
    const manifest = [...(sources.get("@dstack/compose")?.values() ?? [])]
      .flat()
      .filter(({ file }) => !file.startsWith("libs/compose/src/docker/"));
    assert.deepEqual(
      manifest.filter((imported) => targetOf(imported).startsWith("libs/compose/src/docker/")),
      [],
    );
  });

  test("only libs/system-calls speaks of node:ffi to Node", () => {
    const speaking = globSync("{libs,services,cli,bench,scripts,tests}/**/*.{ts,mjs}", { cwd: ROOT })
      .filter((file) => !file.includes("node_modules/") && file !== "tests/import-graph.test.ts")
      .filter((file) => /["'`](?:node:)?ffi["'`]/.test(readFileSync(join(ROOT, file), "utf8")));
    assert.deepEqual(speaking, ["libs/system-calls/src/libc.ts"]);
  });

  test("whoever asks over HTTP does it by libs/http, which dials in one place", () => {
    const asking = globSync("{libs,services,cli}/**/src/**/*.ts", { cwd: ROOT })
      .filter((file) => !file.includes("node_modules/"))
      .filter((file) => {
        const text = readFileSync(join(ROOT, file), "utf8");
        const client = /import \{([^}]*)\} from "node:https?";/g;
        return (
          /(?<![.#\w])fetch\((?!instance)|(?<!typeof )globalThis\.fetch/.test(text) ||
          [...text.matchAll(client)].some(([, names = ""]) =>
            names.split(",").some((name) => /^\s*(?:request|get|Agent)\b/.test(name)),
          )
        );
      });
    assert.deepEqual(asking.toSorted(), [
      "libs/http/src/dial.ts",
      // What its caller gives, by default `streamedFetch`.
      "libs/http/src/fetch-following.ts",
      "libs/http/src/kept-connections.ts",
    ]);
  });

  test("only the CLI's list of places, and who is listed here, finds its way out of its own package", () => {
    const found = [...sources.keys()]
      .flatMap((name) => {
        const folder = byName.get(name)?.folder ?? "";
        return globSync("src/**/*.ts", { cwd: join(ROOT, folder) }).map((file) => ({
          folder,
          file: `${folder}/${file}`,
        }));
      })
      .filter(({ folder, file }) =>
        [
          ...readFileSync(join(ROOT, file), "utf8").matchAll(/import\.meta\.(?:dirname|url)[^"'`\n]*["'`]([^"'`]+)/g),
        ].some(([, path = ""]) => !`${resolve(ROOT, dirname(file), path)}/`.startsWith(`${join(ROOT, folder)}/`)),
      )
      .map(({ file }) => file);
    assert.deepEqual(found.toSorted(), [
      "cli/src/local/places.ts",
      // The builder of guest images reads the recipes below image/ and the guest's own sources.
      "libs/image/src/builder/build-cli.ts",
      // The VMM starts the supervisor of its own checkout, of which it must know nothing else.
      "services/vmm/src/supervisor/supervisor-start.ts",
    ]);
  });

  test("no production source can import the TEE simulator (SECURITY #563)", () => {
    const wrong = [...sources.values()]
      .flat()
      .filter(
        ({ file, specifier }) =>
          !file.startsWith("services/tee-simulator/") &&
          (splitSpecifier(specifier)[0] === SIMULATOR ||
            (specifier.startsWith(".") && targetOf({ file, specifier }).startsWith("services/tee-simulator/"))),
      );
    assert.deepEqual(wrong, []);
    for (const workspace of all)
      assert.equal(workspace.dependencies[SIMULATOR], undefined, `${workspace.folder} depends on the simulator`);
  });
});

/** Every import that loading one entry of a package leads to, inside our workspaces. */
function reachableFrom(name: string, subpath: string): Import[] {
  const found: Import[] = [];
  const seen = new Set<string>();
  const queue = [entryOf(name, subpath)];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const imported of importsOf(file)) {
      found.push(imported);
      if (imported.specifier.startsWith(".")) queue.push(targetOf(imported));
      else if (imported.specifier.startsWith("@dstack/")) queue.push(entryOf(...splitSpecifier(imported.specifier)));
    }
  }
  return found;
}

function entryOf(name: string, subpath: string): string {
  const workspace = byName.get(name);
  const entry = workspace?.exports[subpath];
  assert.ok(workspace !== undefined && entry !== undefined, `${name} has the entry ${subpath}`);
  return `${workspace.folder}/${entry.replace(/^\.\//, "")}`;
}
