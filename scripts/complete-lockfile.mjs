// Adds to package-lock.json the optional packages for other platforms that its own entries name and
// that the registry at hand did not have when the lockfile was written. `npm ci` refuses a lockfile
// without them, on every platform, though it installs none of them here.
// Run after each change of a dependency: node scripts/complete-lockfile.mjs
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OS = [
  "aix",
  "android",
  "darwin",
  "freebsd",
  "linux",
  "netbsd",
  "openbsd",
  "openharmony",
  "sunos",
  "win32",
  "windows",
];
const CPU = {
  x64: "x64",
  amd64: "x64",
  x86_64: "x64",
  arm64: "arm64",
  aarch64: "arm64",
  arm: "arm",
  armv7: "arm",
  arm64ec: "arm64",
  ia32: "ia32",
  386: "ia32",
  loong64: "loong64",
  mips64el: "mips64el",
  ppc64: "ppc64",
  ppc64le: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
  wasm32: "wasm32",
};

/**
 * @param {{packages: Record<string, any>}} lock a parsed package-lock.json, changed in place
 * @returns {string[]} the names that were added
 */
export function completeLockfile(lock) {
  const added = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (`${path}/node_modules/${name}` in lock.packages || `node_modules/${name}` in lock.packages) continue;
      const platform = platformOf(name);
      if (platform === undefined || !/^\d+\.\d+\.\d+$/.test(version)) {
        throw new Error(
          `${name}@${version} of ${path} is missing in package-lock.json and its platform cannot be told from its name: add it by hand`,
        );
      }
      lock.packages[`node_modules/${name}`] = {
        version,
        ...platform,
        ...(entry.dev ? { dev: true } : {}),
        optional: true,
      };
      added.push(name);
    }
  }
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, "en")));
  return added;
}

// "@esbuild/linux-arm64", "@oxlint/binding-linux-arm-gnueabihf", "@typescript/typescript-win32-x64"
function platformOf(name) {
  const words = name.slice(name.indexOf("/") + 1).split("-");
  const os = words.find((word) => OS.includes(word));
  const cpu = words.map((word) => CPU[word]).find((value) => value !== undefined);
  const musl = words.some((word) => word.startsWith("musl"));
  if (cpu === undefined || (os === undefined && cpu !== "wasm32")) return undefined;
  // What this very machine would install must come from a registry, with its integrity value.
  if (os === "linux" && cpu === "x64" && !musl) return undefined;
  return { cpu: [cpu], ...(musl ? { libc: ["musl"] } : {}), ...(os ? { os: [os === "windows" ? "win32" : os] } : {}) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = join(dirname(dirname(fileURLToPath(import.meta.url))), "package-lock.json");
  const lock = JSON.parse(readFileSync(path, "utf8"));
  const added = completeLockfile(lock);
  if (added.length > 0) writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
  process.stdout.write(`${added.length} packages added${added.length > 0 ? `: ${added.join(", ")}` : ""}\n`);
}
