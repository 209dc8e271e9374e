import type { Logger } from "@dstack/log";
import type { HttpRoute, RpcService } from "@dstack/rpc";
import type { KmsConfig } from "../config.ts";
import { KmsError } from "../errors.ts";
import { bootstrap, type Attest } from "../keys/bootstrap.ts";
import { keyFolderState } from "../keys/key-files.ts";
import { serveSetUp } from "./setup-server.ts";

export interface SetUpOptions {
  readonly config: Pick<KmsConfig, "keyFolder" | "onboardEnabled" | "autoBootstrapDomain" | "setUp">;
  /** Unix seconds. */
  readonly now: number;
  readonly log: Logger;
  /** Evidence over new root keys; undefined outside a TEE. */
  readonly attest: Attest;
  /** Throws where the auth server does not want this very KMS to make roots. */
  readonly authorizeBootstrap: () => Promise<void>;
  /** The Onboard service. It calls `finish` to end the set-up; that throws while there are no keys. */
  readonly service: (finish: () => Promise<void>) => RpcService<undefined, "set-up">;
  /** Ways to keys beside the Onboard service; whoever may call that may call these. */
  readonly routes?: readonly HttpRoute[];
  /** Shows the operator one line that no log keeps. */
  readonly print: (line: string) => void;
  /** Ends the wait for an operator. */
  readonly signal: AbortSignal;
}

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
  await bootstrap({ folder, domain, now, attest });
  log.info({ folder, domain }, "bootstrapped: new root keys");
}
