/** Writes the collateral on its standard input to a folder again and again, until it is killed: FOLDER KEY. */
import { text } from "node:stream/consumers";
import { collateralFromJson } from "@dstack/attest";
import { CollateralFolder } from "@dstack/attest/node";

/** What it prints before the first write. */
export const WRITING = "writing\n";

if (import.meta.main) {
  const [folder = "", key = ""] = process.argv.slice(2);
  const collateral = collateralFromJson(JSON.parse(await text(process.stdin)));
  const store = new CollateralFolder(folder);
  process.stdout.write(WRITING);
  for (;;) await store.write(key, collateral);
}
