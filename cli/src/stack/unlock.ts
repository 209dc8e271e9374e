import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import { freeDeadLock } from "@dstack/files";
import { historyPathOf } from "../auth/policy-file.ts";
import type { Cli } from "../clients/cli.ts";
import type { StackLayout } from "../local/layout.ts";
import { imageBuildFolder } from "../local/places.ts";
import { CliError } from "../terminal/errors.ts";

/**
 * `dstack doctor --unlock`: frees the locks that programs left behind which ended without freeing
 * them, of the local deployment or one that is named. Only needed where Node was started without
 * node:ffi: with it such a lock is free by itself. A living holder's stays.
 * @throws CliError `not-found` where the named file is not there, `failed` where its holder lives
 */
export async function doctorUnlock({ layout, out }: Cli, which: string | true): Promise<void> {
  const named = which === true ? undefined : which;
  if (named !== undefined && !existsSync(named)) throw new CliError("not-found", `there is no lock file ${named}`);
  for (const path of named === undefined ? locksOf(layout) : [named]) {
    const result = await freeDeadLock(path);
    if (result === "freed") out.print(`freed    ${path}`);
    if (result === "alive" && named !== undefined)
      throw new CliError("failed", `${path} is held by a process that lives`, { hint: "end that process first" });
    if (result === "alive") out.print(`in use   ${path}`);
  }
}

/** Every lock that the programs of the local deployment take. */
function locksOf(layout: StackLayout): string[] {
  return [
    layout.lockFile,
    join(layout.kmsCerts, "lock"),
    join(layout.gatewayFolder, "data", "lock"),
    join(layout.vmmFolder, "vm", ".vmm.lock"),
    join(layout.vmmFolder, "supervisor.sock.lock"),
    join(imageBuildFolder(layout), "build.lock"),
    `${historyPathOf(layout.authConfig)}.lock`,
    ...globSync("apps/*.lock", { cwd: layout.state })
      .toSorted()
      .map((name) => join(layout.state, name)),
  ];
}
