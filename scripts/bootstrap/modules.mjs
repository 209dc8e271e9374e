import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { npm } from "./npm.mjs";

/**
 * Do the installed modules match the lockfile? npm writes node_modules/.package-lock.json as its
 * last act, so a killed installation leaves none or an older one. What runs needs no development
 * packages; where a contributor has them all the same, an installation keeps them.
 *
 * @param {import("./context.mjs").Context} context
 * @param {{development: boolean}} job
 */
export function modulesInPlace(context, { development }) {
  const installed = readPackages(join(context.root, "node_modules", ".package-lock.json"));
  const wanted = readPackages(join(context.root, "package-lock.json"));
  if (installed === undefined || wanted === undefined) return false;
  for (const path of new Set([...Object.keys(wanted), ...Object.keys(installed)])) {
    // The hidden lockfile has neither the root nor the workspaces' own manifests, only links to them.
    if (!path.startsWith("node_modules/") && !path.includes("/node_modules/")) continue;
    const want = wanted[path];
    const have = installed[path];
    if (want === undefined) return false;
    if (have === undefined) {
      if ((want.optional && !fitsThisMachine(want)) || (want.dev && !development)) continue;
      return false;
    }
    if (want.version !== have.version || want.integrity !== have.integrity || want.link !== have.link) return false;
  }
  return true;
}

/** Runs `npm ci` under the pinned Node. The caller holds the lock. */
export async function installModules(
  /** @type {import("./context.mjs").Context} */ context,
  /** @type {string} */ node,
  /** @type {{development: boolean}} */ { development },
) {
  const whole = development || hasDevelopmentPackages(context);
  context.say(`installing the npm packages of package-lock.json${whole ? "" : " that running needs"}`);
  const args = whole ? ["ci"] : ["ci", "--omit=dev"];
  await npm(context, node, args, { label: "npm ci", timeoutMs: 900_000, what: "installing the npm packages" });
}

/** Are packages there that only development needs? */
function hasDevelopmentPackages(context) {
  const installed = readPackages(join(context.root, "node_modules", ".package-lock.json")) ?? {};
  const wanted = readPackages(join(context.root, "package-lock.json")) ?? {};
  return Object.keys(installed).some((path) => wanted[path]?.dev === true);
}

function readPackages(path) {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")).packages;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function fitsThisMachine({ os, cpu, libc }) {
  const fits = (list, name) => list === undefined || [list].flat().includes(name);
  return fits(os, "linux") && fits(cpu, "x64") && fits(libc, "glibc");
}
