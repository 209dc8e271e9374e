import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { DEFAULT_PORTS } from "@dstack/cli/testing";
import { ROOT, workspaces } from "./workspaces.ts";

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly optional?: boolean;
}

const { completeLockfile } = (await import(new URL("../scripts/complete-lockfile.mjs", import.meta.url).href)) as {
  completeLockfile(lock: { packages: Record<string, unknown> }): string[];
};

describe("the lockfile", () => {
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, LockedPackage>;
  };
  const installed = Object.entries(lock.packages).filter(
    ([path, entry]) => path.includes("node_modules/") && entry.link !== true,
  );

  test("names no host, so that everybody's own registry serves", () => {
    assert.deepEqual(
      installed.filter(([, entry]) => entry.resolved !== undefined).map(([path]) => path),
      [],
    );
  });

  test("has a SHA-512 integrity value for each package that can be installed here", () => {
    const bare = installed.filter(
      ([, entry]) => entry.optional !== true && !(entry.integrity ?? "").startsWith("sha512-"),
    );
    assert.deepEqual(
      bare.map(([path]) => path),
      [],
    );
  });

  test("names the optional packages of other platforms, without which npm ci refuses it (mend: node scripts/complete-lockfile.mjs)", () => {
    assert.deepEqual(completeLockfile(structuredClone(lock)), []);
  });

  test("pins the Node of scripts/node.lock.json", () => {
    const pin = JSON.parse(readFileSync(join(ROOT, "scripts", "node.lock.json"), "utf8")) as {
      package: string;
      version: string;
      sha256: string;
    };
    assert.equal(lock.packages[`node_modules/${pin.package}`]?.version, pin.version);
    assert.match(pin.sha256, /^[0-9a-f]{64}$/);
    const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    assert.equal(manifest.dependencies[pin.package], pin.version);
  });
});

test("the bootstrap checks the very ports that the local deployment uses", () => {
  const checked = JSON.parse(readFileSync(join(ROOT, "scripts", "demo-ports.json"), "utf8")) as { port: number }[];
  assert.deepEqual(
    checked.map(({ port }) => port),
    Object.values(DEFAULT_PORTS),
  );
});

describe("npm's settings", () => {
  for (const line of ["ignore-scripts=true", "omit-lockfile-registry-resolved=true", "audit=false"]) {
    test(`hold ${line}`, () => {
      assert.ok(readFileSync(join(ROOT, ".npmrc"), "utf8").split("\n").includes(line));
    });
  }
});

describe("dependencies", () => {
  const text = readFileSync(join(ROOT, "DEPENDENCIES.md"), "utf8");
  const documented = new Set([...text.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]));
  const root = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    dependencies: object;
    devDependencies: object;
  };
  const used = new Set(
    [...workspaces().map(({ dependencies }) => dependencies), root.dependencies, root.devDependencies]
      .flatMap((list) => Object.keys(list))
      .filter((name) => !name.startsWith("@dstack/")),
  );

  test("each has its line in DEPENDENCIES.md", () => {
    assert.deepEqual(
      [...used].filter((name) => !documented.has(name)),
      [],
    );
  });

  test("DEPENDENCIES.md names none that is gone", () => {
    assert.deepEqual(
      [...documented].filter((name) => !used.has(name ?? "")),
      [],
    );
  });

  test("are pinned to one exact version in the whole repository", () => {
    const versions = new Map<string, Set<string>>();
    for (const list of [
      ...workspaces().map(({ dependencies }) => dependencies),
      root.dependencies,
      root.devDependencies,
    ]) {
      for (const [name, version] of Object.entries(list) as [string, string][]) {
        if (!name.startsWith("@dstack/")) versions.set(name, (versions.get(name) ?? new Set()).add(version));
      }
    }
    const loose = [...versions].filter(
      ([, set]) => set.size !== 1 || ![...set].every((version) => /^\d+\.\d+\.\d+$/.test(version)),
    );
    assert.deepEqual(
      loose.map(([name, set]) => `${name}: ${[...set].join(", ")}`),
      [],
    );
  });
});

describe("packages", () => {
  for (const { folder } of workspaces()) {
    test(`${folder} has a README.md`, () => {
      assert.ok(existsSync(join(ROOT, folder, "README.md")));
    });
  }
});

const listed = spawnSync("git", ["ls-files", "-z"], { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 26 });

describe("tracked files", () => {
  const files = (listed.stdout ?? "").split("\0").filter((file) => file !== "" && existsSync(join(ROOT, file)));

  test("are listed by git", () => {
    assert.equal(listed.status, 0, `git ls-files: ${listed.stderr} (the tests want a clone, not an archive)`);
  });

  test("are neither products nor leftovers", () => {
    const strays = files.filter((file) =>
      /\.(log|orig|rej|tmp|img|qcow2|squashfs|erofs|tgz|deb)$|(^|\/)(node_modules|dist|\.cache)\//i.test(file),
    );
    assert.deepEqual(strays, []);
  });

  test("name no host of a package registry and no folder of somebody's machine", () => {
    // Put together here, so that this file does not find itself.
    const forbidden = [
      ["registry", "npmjs", "org"].join("."),
      ["deb", "debian", "org"].join("."),
      ["", "work", "main"].join("/"),
      ["", "work", "shared"].join("/"),
    ];
    const found = files.flatMap((file) => {
      const content = readFileSync(join(ROOT, file), "latin1");
      return forbidden.filter((word) => content.includes(word)).map((word) => `${file}: ${word}`);
    });
    assert.deepEqual(found, []);
  });

  test("are each under one megabyte", () => {
    assert.deepEqual(
      files.filter((file) => readFileSync(join(ROOT, file)).length > 1_000_000),
      [],
    );
  });
});

describe("decisions", () => {
  const folder = join(ROOT, "docs", "decisions");
  const pages = readdirSync(folder).filter((name) => name !== "README.md");
  const index = readFileSync(join(folder, "README.md"), "utf8");

  test("are numbered without a gap, each with its date and state", () => {
    assert.deepEqual(
      pages.toSorted().map((name) => name.slice(0, 4)),
      pages.map((_, number) => `${String(number + 1).padStart(3, "0")}-`),
    );
    for (const name of pages)
      assert.match(
        readFileSync(join(folder, name), "utf8"),
        /^# .+\n\nDate: \d{4}-\d\d-\d\d\nState: (?:in force|replaced by \[.+\]\(\d{3}-.+\.md\))\n\n/,
        name,
      );
  });

  test("are all in the index", () => {
    for (const name of pages) assert.ok(index.includes(`](${name})`), name);
  });
});

test("links between pages lead to files that are there", () => {
  const pages = globSync("{*.md,{docs,libs,services,cli,tests,bench,contracts,examples}/**/*.md}", {
    cwd: ROOT,
    exclude: ["**/node_modules/**"],
  });
  const broken = pages.flatMap((page) =>
    [...readFileSync(join(ROOT, page), "utf8").matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
      .map(([, target = ""]) => target)
      .filter((target) => !existsSync(join(ROOT, dirname(page), target)))
      .map((target) => `${page}: ${target}`),
  );
  assert.ok(pages.length > 40);
  assert.deepEqual(broken, []);
});
