import { PUBLIC_COLLATERAL_SERVERS, collateralToJson } from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import { writeFileAtomic } from "@dstack/files";
import type { Cli } from "../clients/cli.ts";
import { readAnchor } from "../evidence/inputs.ts";
import type { CollateralFetchOptions } from "./options.ts";
import { readQuoteFile } from "./read-files.ts";

/** `dstack collateral fetch` */
export async function collateralFetch(
  { env, out }: Cli,
  quoteFile: string,
  options: CollateralFetchOptions,
): Promise<void> {
  const fromEnvironment = env["PCCS_URL"];
  const endpoints =
    options.pccs.length > 0
      ? options.pccs
      : fromEnvironment === undefined
        ? PUBLIC_COLLATERAL_SERVERS
        : [fromEnvironment];
  const fetcher = new CollateralFetcher({ endpoints, trustAnchor: await readAnchor(options.root) });
  const text = JSON.stringify(collateralToJson(await fetcher.collateralFor(await readQuoteFile(quoteFile))), null, 2);
  if (options.out === undefined) out.print(text);
  else {
    await writeFileAtomic(options.out, `${text}\n`, { mode: 0o644 });
    out.say(`wrote ${options.out}`);
  }
}
