/** What is mutated, and which tests judge it. Paths are relative to the checkout. */
export interface MutatedPackage {
  readonly name: string;
  /** Folder of its sources. */
  readonly sources: string;
  /** Modules to load first. */
  readonly entries: readonly string[];
}

export const PACKAGES: readonly MutatedPackage[] = [
  { name: "attest", sources: "libs/attest/src", entries: ["libs/attest/src/index.ts", "libs/attest/src/node/index.ts", "libs/attest/src/web/index.ts"] },
  { name: "ratls", sources: "libs/ratls/src", entries: ["libs/ratls/src/index.ts"] },
  { name: "measure", sources: "libs/measure/src", entries: ["libs/measure/src/index.ts"] },
];

/**
 * Tests that run inside a worker: unit and property tests, and those integration tests that stay
 * inside one process. Others (a real QEMU, mount namespaces) are too slow to run per mutant.
 */
export const TESTS = [
  "libs/{attest,ratls,measure}/test/**/*.test.ts",
  "services/tee-simulator/test/*.test.ts",
];
export const NOT_IN_PROCESS = [/qemu|web\.int|kernel\.int|swtpm|witness|chromium|browser|bundle|namespace|place\.int|tee\.int|\.e2e\./];

/** Folders of the checkout that sources and tests need beside them. */
export const COPIED = ["libs", "services/tee-simulator", "tests/forge", "package.json", "tsconfig.json", "tsconfig.base.json"];
