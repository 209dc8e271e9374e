import { join } from "node:path";
import { cacheDirectory, stateDirectory } from "@dstack/files";

/** Collateral that the user pinned: verification uses exactly this. */
export const collateralPinFolder = (env: NodeJS.ProcessEnv): string => join(stateDirectory(env), "collateral-pins");

/** Collateral that was fetched, kept until it expires. */
export const collateralCacheFolder = (env: NodeJS.ProcessEnv): string => join(cacheDirectory(env), "collateral");
