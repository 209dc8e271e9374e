import { firstFailure } from "@dstack/attest";
import { checkCollateral, CollateralFolder, collateralKey, keyOfCollateral, platformOf } from "@dstack/attest/node";
import type { Cli } from "../clients/cli.ts";
import { readAnchor, readTime } from "../evidence/inputs.ts";
import { collateralPinFolder } from "../local/collateral-folders.ts";
import { CliError } from "../terminal/errors.ts";
import type { CollateralPinOptions } from "./options.ts";
import { readCollateralFile, readQuoteFile } from "./read-files.ts";

/** `dstack collateral pin` */
export async function collateralPin({ env, out }: Cli, file: string, options: CollateralPinOptions): Promise<void> {
  const collateral = await readCollateralFile(file);
  const problem = firstFailure(
    checkCollateral(collateral, await readAnchor(options.root)).checksAt(readTime(undefined)),
  );
  if (problem !== undefined)
    throw new CliError("denied", `${file} does not hold: ${problem}`, { hint: `dstack collateral show ${file}` });
  const key =
    options.quote === undefined
      ? keyOfCollateral(collateral)
      : collateralKey(platformOf(await readQuoteFile(options.quote)));
  out.print(await new CollateralFolder(collateralPinFolder(env)).write(key, collateral));
}
