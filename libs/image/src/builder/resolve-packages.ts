/** From what the recipe asks for to exact pins: apt's resolver for closures, the newest match for single packages. */
import { run } from "@dstack/process";
import { ImageError } from "../errors.ts";
import type { Apt } from "./apt.ts";
import type { PinnedPackage } from "./package-lock.ts";
import type { AvailablePackage, PackagesIndex } from "./packages-index.ts";
import type { Recipe } from "./recipe.ts";

export async function resolvePackages(apt: Apt, index: PackagesIndex, recipe: Recipe): Promise<PinnedPackage[]> {
  const { groups } = recipe.packages;
  const pins: PinnedPackage[] = [];
  for (const group of ["rootfs", "tools"] as const) {
    const omit = new Set(groups[group].omit);
    for (const { name, version } of await apt.closure(groups[group].packages)) {
      if (omit.has(name)) continue;
      const found = index.find(name, version);
      if (found === undefined)
        throw new ImageError("package-unavailable", `${name} ${version}: chosen by apt but in no package list`);
      pins.push(pinned(group, found));
    }
  }
  for (const group of ["kernel", "firmware"] as const) {
    pins.push(pinned(group, await newest(index.matching(new RegExp(groups[group].newest)), groups[group].newest)));
  }
  return pins;
}

function pinned(group: string, item: AvailablePackage): PinnedPackage {
  return { group, ...item };
}

async function newest(candidates: AvailablePackage[], pattern: string): Promise<AvailablePackage> {
  let best = candidates[0];
  if (best === undefined)
    throw new ImageError("package-unavailable", `no package matches ${pattern}: the mirror lacks it`);
  for (const candidate of candidates.slice(1)) {
    const { code } = await run("dpkg", ["--compare-versions", candidate.version, "gt", best.version], {
      okCodes: [0, 1],
    });
    if (code === 0) best = candidate;
  }
  return best;
}
