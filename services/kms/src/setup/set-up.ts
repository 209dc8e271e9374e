/**
 * How an empty key folder gets its keys.
 * In: a folder without keys, the configuration, an operator. Out: a folder with keys, or the end of the start.
 * At once where a domain is configured, else by the page and the routes of the set-up listener.
 * The listener is open as released versions have it, unless a token is asked for; other sites' pages are refused.
 * Never: a set-up beside a listener that serves keys; one that ends without keys and goes on.
 */
import { KmsError } from "../errors.ts";
import { bootstrap } from "../keys/bootstrap.ts";
import { keyFolderState } from "../keys/key-files.ts";
import type { SetUpOptions } from "./set-up-options.ts";
import { serveSetUp } from "./setup-server.ts";

/**
 * Gives an empty key folder its keys: at once where a domain is configured, else by the set-up
 * pages, which it serves until an operator finishes them.
 * @throws KmsError `not-bootstrapped` where there are no keys at the end; what the bootstrap throws
 */
export async function setUp(options: SetUpOptions): Promise<void> {
  const { config, now, log, attest } = options;
  const { keyFolder: folder, autoBootstrapDomain: domain } = config;
  if (!config.onboardEnabled)
    throw new KmsError(
      "not-bootstrapped",
      `${folder} has no keys and core.onboard.enabled is false: enable it, or restore the keys from a backup`,
    );
  if (domain === "") {
    await serveSetUp(options);
    if ((await keyFolderState(folder)).kind !== "complete")
      throw new KmsError("not-bootstrapped", `Failed to onboard: the set-up ended and ${folder} has no keys`);
    log.info({ folder }, "set up");
    return;
  }
  await options.authorizeBootstrap();
  const { record } = options;
  await bootstrap({ folder, domain, now, attest, ...(record === undefined ? {} : { record }) });
  log.info({ folder, domain }, "bootstrapped: new root keys");
}
