/**
 * One start of a KMS as far as its key folder goes, killed before its KILL_AT-th change of the disk:
 * `node key-folder-child.ts FOLDER NOW [ROOTS]`, where ROOTS are received keys in JSON, else it bootstraps.
 */
import { readFileSync } from "node:fs";
import { p256FromScalar } from "@dstack/keys";
import { parseHex } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { installRootKeys } from "../src/keys/install-root-keys.ts";
import { openKeyStore, settleKeyFolder } from "../src/keys/key-store.ts";
import { observeFileOperations } from "./file-operations.ts";

const killAt = Number(process.env["KILL_AT"]);
let count = 0;
await observeFileOperations((operation) => {
  // A killed process leaves the same before these two as before what follows them.
  if (operation === "sync" || operation === "write") return;
  if (++count === killAt) process.kill(process.pid, "SIGKILL");
});
const [folder = "", now = "", received] = process.argv.slice(2);
const log = { warn: () => undefined } as unknown as Logger;
const options = { folder, domain: "kms.example.com", now: Number(now) };
if ((await settleKeyFolder(folder, log)) === "complete") await openKeyStore(options);
else if (received === undefined) await bootstrap({ ...options, attest: undefined });
else await installRootKeys({ ...options, roots: readRoots(received) });
process.stdout.write(`done after ${count}\n`);

function readRoots(path: string) {
  const { rootCa, tempCa, rootK256 } = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
  return {
    rootCa: p256FromScalar(parseHex(rootCa ?? "")),
    tempCa: p256FromScalar(parseHex(tempCa ?? "")),
    rootK256: parseHex(rootK256 ?? ""),
  };
}
