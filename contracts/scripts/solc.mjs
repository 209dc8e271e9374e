#!/usr/bin/env node
// The Solidity compiler from npm, as a program that forge can call: no download, the version pinned by the lockfile.
import { readFileSync } from "node:fs";
import solc from "solc";

if (process.argv.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else {
  process.stdout.write(solc.compile(readFileSync(0, "utf8"), { import: findImport }));
}

/** forge leaves out what lies beside its folder: files of packages, by their path from there. */
function findImport(path) {
  try {
    return { contents: readFileSync(path, "utf8") };
  } catch (error) {
    return { error: String(error) };
  }
}
