/** What is mutated, and which tests judge it. Paths are relative to the checkout. */
export interface MutatedPackage {
  readonly name: string;
  /** Folder of its sources. */
  readonly sources: string;
  /** Modules to load first. */
  readonly entries: readonly string[];
  /** Its own tests, and those of others that were written for it. */
  readonly tests: readonly string[];
}

export const PACKAGES: readonly MutatedPackage[] = [
  {
    name: "attest",
    sources: "libs/attest/src",
    entries: ["libs/attest/src/index.ts", "libs/attest/src/node/index.ts", "libs/attest/src/web/index.ts"],
    tests: ["libs/attest/test/**/*.test.ts", "services/tee-simulator/test/*.test.ts"],
  },
  {
    name: "bytes",
    sources: "libs/bytes/src",
    entries: ["libs/bytes/src/index.ts"],
    tests: ["libs/bytes/test/**/*.test.ts"],
  },
  {
    name: "ratls",
    sources: "libs/ratls/src",
    entries: ["libs/ratls/src/index.ts"],
    tests: ["libs/ratls/test/**/*.test.ts"],
  },
  {
    name: "measure",
    sources: "libs/measure/src",
    entries: ["libs/measure/src/index.ts"],
    tests: ["libs/measure/test/**/*.test.ts"],
  },
];

/** Tests that need more than one process (a real QEMU, Chromium, mount namespaces) are too slow to run per change. */
export const NOT_IN_PROCESS = /qemu|web\.int|kernel\.int|witness|place\.int|tee\.int|\.e2e\./;

/** Folders of the checkout that sources and tests need beside them. */
export const COPIED = [
  "libs",
  "services/tee-simulator",
  "tests/forge",
  "tests/vectors",
  "package.json",
  "tsconfig.json",
  "tsconfig.base.json",
];
