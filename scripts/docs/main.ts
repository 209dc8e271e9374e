/**
 * Prints every page that is generated: each other file of this folder is a program of its own, which writes its pages
 * from the code when it is run. Tests compare the pages with what the programs print.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const programs = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".ts") && name !== "main.ts");
for (const name of programs.toSorted()) {
  const { status } = spawnSync(process.execPath, ["--", join(import.meta.dirname, name)], { stdio: "inherit" });
  if (status !== 0) process.exit(1);
  process.stdout.write(`${name}: done\n`);
}
